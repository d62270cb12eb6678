"""The model as every stack runs it: ONNX Runtime with one thread that does not spin."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime


def load() -> Callable[[Any], Any]:
    """Return the model of `$MODEL` as a function from (batch, *shape) float32 to (batch, outputs) float32, run once already."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
    source, target = session.get_inputs()[0], [session.get_outputs()[0].name]

    def run(inputs: Any) -> Any:
        return session.run(target, {source.name: inputs})[0]

    run(np.zeros((1, *source.shape[1:]), dtype=np.float32))
    return run
