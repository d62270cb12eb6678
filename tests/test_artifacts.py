"""Bytes are checked against the manifest before any parser reads them."""

import shutil
from pathlib import Path

import pytest

from pipeline.artifacts import Model, Prepared
from pipeline.errors import UserError
from serving.errors import CorruptFile
from tests.conftest import Finished


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Path:
    shutil.copytree(finished.folder, tmp_path / "run")
    return tmp_path / "run"


def test_one_flipped_byte_is_refused_with_the_file_and_both_digests(copy: Path) -> None:
    file = copy / "train" / "best.pt"
    payload = bytearray(file.read_bytes())
    payload[len(payload) // 2] ^= 1
    file.write_bytes(payload)
    model = Model.open(copy / "train")
    for check in (model.verify, lambda: model.read("best.pt")):
        with pytest.raises(CorruptFile) as caught:
            check()
        assert str(file) in str(caught.value)
        assert caught.value.recorded in str(caught.value)
        assert caught.value.found in str(caught.value)
        assert caught.value.recorded != caught.value.found


def test_a_missing_file_is_refused_by_name(copy: Path) -> None:
    (copy / "train" / "history.jsonl").unlink()
    with pytest.raises(CorruptFile, match=r"history\.jsonl.*no file"):
        Model.open(copy / "train").verify()


def test_a_folder_without_a_manifest_is_no_artifact(copy: Path) -> None:
    (copy / "train" / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"no manifest\.json"):
        Model.open(copy / "train")


def test_a_damaged_manifest_is_refused_in_one_line(copy: Path) -> None:
    (copy / "train" / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        Model.open(copy / "train")


def test_a_file_that_the_manifest_does_not_list_cannot_be_read(finished: Finished) -> None:
    with pytest.raises(UserError, match=r"lists no \.\./run\.json"):
        finished.model.read("../run.json")


def test_the_manifest_records_what_the_result_depends_on(finished: Finished) -> None:
    manifest = finished.model.manifest
    assert manifest.stage == "train"
    assert manifest.takes == {"prepared": finished.prepared.digest}
    assert {"best.pt", "last.pt", "history.jsonl", "plots/curves.png"} <= manifest.makes.keys()
    assert set(manifest.config) == {"name", "seed", "model", "train"}
    assert manifest.versions["torch"].startswith("2.13")
    assert manifest.metrics["val/accuracy"] > 0
    assert manifest.notes["stop_reason"] in {"epochs", "early_stopping"}


def test_prepared_splits_have_one_target_for_each_row(finished: Finished) -> None:
    sizes = {}
    for split in ("train", "validation", "test"):
        inputs, targets = finished.prepared.split(split)
        assert inputs.shape == (len(targets), *finished.prepared.schema.shape)
        sizes[split] = len(targets)
    assert sizes == finished.prepared.manifest.notes["rows"]
    assert isinstance(finished.prepared, Prepared)
