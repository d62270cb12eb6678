# mypy: disable-error-code="import-not-found,import-untyped,attr-defined,no-untyped-call"
"""Write `$MODEL` as an MLflow model of the ONNX flavor: python -m benchmarks.serving.apps.mlflow_save FOLDER."""

import os
import sys

import mlflow.onnx
import numpy as np
import onnx
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

if __name__ == "__main__":
    single, width = np.dtype(np.float32), 10
    signature = ModelSignature(
        inputs=Schema([TensorSpec(single, (-1, 8, 8), "inputs")]), outputs=Schema([TensorSpec(single, (-1, width), "outputs")])
    )
    threads = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}
    model = onnx.load(os.environ["MODEL"])
    mlflow.onnx.save_model(model, sys.argv[1], signature=signature, onnx_session_options=threads)
