"""torch.export programs are for those who made them: no bundle holds one, whoever wrote its description."""

import json
from pathlib import Path

import msgspec
import pytest

from serving import runtimes
from serving.bundle import DESCRIPTION, Artifact, Bundle, Description, write_bundle
from serving.errors import BundleError
from tests.conftest import Finished


def test_a_bundle_with_a_torch_export_program_is_not_written(finished: Finished, tmp_path: Path) -> None:
    made = finished.exported.open_bundle().description
    fields = {name: getattr(made, name) for name in ("name", "version", "created", "schema", "lineage", "metrics", "parity")}
    with pytest.raises(BundleError, match=r"m\.pt2 is a torch\.export program, which torch loads by unpickling"):
        write_bundle(tmp_path / "bundle", {"m.pt2": b"x"}, artifact=Artifact("m.pt2", "torch_export", "fp32"), **fields)
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_that_says_it_holds_one_is_refused_though_it_is_sealed(finished: Finished, tmp_path: Path) -> None:
    for path in finished.exported.bundle.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = json.loads((tmp_path / DESCRIPTION).read_text())
    content["artifact"]["runtime"] = "torch_export"
    content["seal"] = msgspec.convert(content, Description).sealed().seal
    (tmp_path / DESCRIPTION).write_text(json.dumps(content))
    with pytest.raises(BundleError, match="a file from elsewhere may run any code; a bundle holds ONNX or TorchScript"):
        Bundle(tmp_path)


def test_a_file_that_is_no_program_is_refused_in_one_line() -> None:
    with pytest.raises(BundleError, match="cannot load the artifact") as caught:
        runtimes.load(b"no zip", "torch_export")
    assert len(str(caught.value).splitlines()) == 1
