"""An ONNX artifact is enough by itself: numpy and ONNX Runtime read what it is and get the model's answers from it."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np

from pipeline.training.deployed import answers, deployable_of
from tests.conftest import Finished

# numpy, onnxruntime and what its package requires.
ALLOWED = {"numpy", "onnxruntime", "flatbuffers", "packaging", "google", "sympy", "mpmath"}
CODE = """
import sys
allowed = set(sys.stdlib_module_names) | set(sys.argv[4].split(","))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
before = set(sys.modules)
import json
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
said = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
schema, classes = said["slipway.schema"], said["slipway.classes"]
rows, expected = np.load(sys.argv[2]), np.load(sys.argv[3])
assert list(rows.shape[1:]) == schema["shape"]
(source,) = session.get_inputs()
found = session.run(None, {source.name: rows})[0]
assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)
print(json.dumps({
    "said": said,
    "labels": [classes[index] for index in found.argmax(1)],
    "packages": sorted({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)),
}))
"""


def test_numpy_and_onnxruntime_alone_answer_validation_rows_as_the_model_does(finished: Finished, tmp_path: Path) -> None:
    rows, _ = finished.prepared.split("validation")
    expected = answers(deployable_of(finished.prepared, finished.model), rows)
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "expected.npy", expected)
    artifact = finished.exported.folder / "train-fp32.onnx"
    words = [str(artifact), "rows.npy", "expected.npy", ",".join(ALLOWED)]
    done = subprocess.run([sys.executable, "-I", "-c", CODE, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    schema = finished.prepared.schema
    assert report["said"] == {
        "slipway.format_version": 1,
        "slipway.schema": json.loads(msgspec.json.encode(schema)),
        "slipway.classes": list(schema.classes),
        "slipway.precision": "fp32",
        "slipway.digests": {
            "data": finished.prepared.digest,
            "statistics": finished.prepared.manifest.makes["statistics.json"].sha256,
            "checkpoint": finished.model.manifest.makes["best.pt"].sha256,
        },
    }
    assert report["labels"] == [schema.classes[index] for index in expected.argmax(1)]
    assert {"numpy", "onnxruntime"} <= set(report["packages"])
    assert not {"torch", "pipeline", "serving", "msgspec", "onnx"} & set(report["packages"])
