"""Execution providers of ONNX Runtime: the named one computes, or nothing does."""

import json
import shutil
from pathlib import Path
from typing import get_args

import onnxruntime
import pytest
from onnx import TensorProto, helper

from pipeline.config import choice_sections
from serving import runtimes
from serving.app import create_app
from serving.bundle import DESCRIPTION, Artifact, Bundle, Provider
from serving.errors import BundleError, CorruptFile
from serving.predictor import Predictor
from tests.serving.conftest import TABLE, assert_close, expected_of, linear_onnx, rows_of
from tests.serving.test_bundle import edit

PACKAGES = {"cuda": "onnxruntime-gpu", "tensorrt": "onnxruntime-gpu", "openvino": "onnxruntime-openvino"}
FURTHER = [provider for provider in get_args(Provider) if runtimes.absent(provider) is not None]
ABSENT = pytest.mark.parametrize("provider", FURTHER)
ONLY_CPU = pytest.mark.skipif("cuda" not in FURTHER, reason="this onnxruntime has CUDA")


@pytest.fixture
def moved_bundle(own_bundle: Path) -> Path:
    """A bundle that was measured on a provider which is not here."""
    if not FURTHER:
        pytest.skip("every provider is here")
    edit(own_bundle, lambda description: description["artifact"].update(provider=FURTHER[0]))
    return own_bundle


def test_a_config_knows_the_providers_that_a_bundle_knows() -> None:
    assert get_args(choice_sections.Provider) == get_args(Provider) == tuple(runtimes._PROVIDERS)


def test_what_probes_a_provider_is_the_graph_that_onnx_writes() -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [8]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "probe", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert model.SerializeToString(deterministic=True) == runtimes._PROBE


def test_cpu_is_there_and_computes() -> None:
    assert (runtimes.absent("cpu"), runtimes.probe("cpu")) == (None, None)


@ABSENT
def test_an_absent_provider_is_refused_with_what_there_is_and_the_package_that_brings_it(provider: Provider) -> None:
    package = PACKAGES[provider]
    with pytest.raises(BundleError) as caught:
        Predictor(linear_onnx(TABLE), schema=TABLE, runtime="onnxruntime", provider=provider)
    said = str(caught.value)
    assert said.startswith(f"the onnxruntime {onnxruntime.__version__} that is installed runs models on cpu")
    assert said.endswith(f", not on {provider}; install the package {package} in its place")
    assert runtimes.probe(provider) == said


@ONLY_CPU
def test_a_session_that_was_asked_for_cuda_and_runs_on_cpu_is_refused() -> None:
    with pytest.warns(UserWarning, match="not in available provider names"):
        session = onnxruntime.InferenceSession(linear_onnx(TABLE), providers=["CUDAExecutionProvider"])
    assert session.get_providers() == ["CPUExecutionProvider"], "onnxruntime falls back without an error"
    with pytest.raises(BundleError, match="^onnxruntime was asked for cuda and would run the model on cpu in silence: "):
        runtimes._refuse_cpu(session, "cuda")


@ONLY_CPU
def test_a_provider_that_is_listed_and_does_not_load_does_not_become_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ["CUDAExecutionProvider", *onnxruntime.get_available_providers()]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    with (
        pytest.warns(UserWarning, match="not in available"),
        pytest.raises(BundleError, match="would run the model on cpu in silence"),
    ):
        Predictor(linear_onnx(TABLE), schema=TABLE, runtime="onnxruntime", provider="cuda")


@pytest.mark.skipif(
    "AzureExecutionProvider" not in onnxruntime.get_available_providers(), reason="no provider here that takes no node"
)
def test_a_provider_that_loads_and_leaves_every_node_to_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runtimes._PROVIDERS, "cuda", ("AzureExecutionProvider", "onnxruntime"))
    with pytest.raises(BundleError, match="^onnxruntime finds nothing in the model that cuda can compute"):
        Predictor(linear_onnx(TABLE), schema=TABLE, runtime="onnxruntime", provider="cuda")


def test_openvino_has_the_threads_of_the_others_and_no_core_of_its_own() -> None:
    ((name, options),) = runtimes._asked("openvino", 3)
    assert (name, options["num_of_threads"], options["device_type"]) == ("OpenVINOExecutionProvider", "3", "CPU")
    assert json.loads(options["load_config"]) == {"CPU": {"ENABLE_CPU_PINNING": "NO"}}
    assert [name for name, _ in runtimes._asked("tensorrt", 3)] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]


@pytest.mark.skipif("openvino" in FURTHER, reason="needs onnxruntime-openvino")
def test_openvino_answers_like_numpy() -> None:
    rows = rows_of(TABLE, 33)
    predictor = Predictor(linear_onnx(TABLE), schema=TABLE, runtime="onnxruntime", provider="openvino")
    assert_close(predictor.predict(rows), expected_of(TABLE, rows))


def test_a_bundle_for_cpu_is_written_as_before_there_were_providers_and_one_without_is_for_cpu(table_bundle: Path) -> None:
    written = json.loads((table_bundle / DESCRIPTION).read_text())["artifact"]
    assert set(written) == {"file", "runtime", "precision"}, "another key would break the seal of every old bundle"
    assert Bundle(table_bundle).description.artifact.provider == "cpu"


def test_a_bundle_carries_its_provider_under_its_seal(moved_bundle: Path, tmp_path: Path) -> None:
    artifact = Bundle(moved_bundle).description.artifact
    assert (artifact.provider, artifact.engine) == (FURTHER[0], f"onnxruntime on {FURTHER[0]}")
    other = "openvino" if FURTHER[0] != "openvino" else "cuda"
    for name, change in {"other": f'"{other}"', "cpu": '"cpu"'}.items():
        folder = shutil.copytree(moved_bundle, tmp_path / name)
        path = folder / DESCRIPTION
        path.write_text(path.read_text().replace(f'"{FURTHER[0]}"', change))
        with pytest.raises(CorruptFile, match="changed after it was written"):
            Bundle(folder)


def test_a_bundle_of_a_provider_that_nobody_knows_is_refused(own_bundle: Path) -> None:
    path = own_bundle / DESCRIPTION
    description = json.loads(path.read_text())
    description["artifact"]["provider"] = "abacus"
    path.write_text(json.dumps(description))
    with pytest.raises(BundleError, match="Invalid enum value 'abacus'"):
        Bundle(own_bundle)


def test_a_service_without_the_provider_of_its_bundle_is_unready_and_says_which_package_is_missing(moved_bundle: Path) -> None:
    with pytest.raises(BundleError, match=f"not on {FURTHER[0]}; install the package"):
        Predictor.from_bundle(Bundle(moved_bundle))
    client = create_app(Bundle(moved_bundle)).test_client()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert f"not on {FURTHER[0]}; install the package {PACKAGES[FURTHER[0]]} in its place" in answer.text
    assert client.post("/predict", json={"inputs": rows_of(TABLE, 1).tolist()}).status_code == 503


def test_torchscript_has_no_providers(torchscript_bundle: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(torchscript_bundle, tmp_path / "bundle")
    edit(folder, lambda description: description["artifact"].update(provider="cuda"))
    with pytest.raises(BundleError, match="^only ONNX runs on cuda, and this bundle holds torchscript; export the run again$"):
        Predictor.from_bundle(Bundle(folder))


def test_what_runs_an_artifact_is_named_without_cpu() -> None:
    assert Artifact("a.onnx", "onnxruntime", "fp32").engine == "onnxruntime"
