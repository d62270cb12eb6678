"""Bytes are checked against the manifest before any parser reads them."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS, Model, Prepared
from pipeline.errors import UserError
from serving.errors import CorruptFile
from serving.files import record_of
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
    assert set(manifest.config) == {"name", "seed", "data", "prepare", "model", "augment", "train", "monitor"}
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


@pytest.fixture
def rows(finished: Finished, tmp_path: Path) -> Path:
    """A copy of prepared rows."""
    shutil.copytree(finished.prepared.folder, tmp_path / "rows")
    return tmp_path / "rows"


def flip_a_bit(file: Path) -> None:
    """Change one byte and leave size and time as they were."""
    before = file.stat()
    payload = bytearray(file.read_bytes())
    payload[-1] ^= 1
    file.write_bytes(payload)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def store(prepared: Prepared, name: str, array: NDArray[np.float32]) -> None:
    """Replace a file, and its record as well."""
    np.save(prepared.folder / name, array)
    prepared.manifest.makes[name] = record_of(prepared.folder / name)


def bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


def test_a_mapped_split_is_the_split_and_cannot_be_written_to(finished: Finished) -> None:
    for split in SPLITS:
        for mapped, read in zip(finished.prepared.open_split(split), finished.prepared.split(split), strict=True):
            assert isinstance(mapped, np.memmap)
            assert mapped.dtype == read.dtype
            assert np.array_equal(mapped, read)
            with pytest.raises(ValueError, match="read-only"):
                mapped[0] = 0


def test_the_size_of_a_split_is_known_without_reading_it(finished: Finished) -> None:
    inputs, targets = finished.prepared.split("train")
    headers = finished.prepared.split_bytes("train") - inputs.nbytes - targets.nbytes
    assert 0 < headers < 1024


@pytest.mark.parametrize("part", ["inputs", "targets"])
def test_a_flipped_bit_is_refused_before_a_split_is_mapped(rows: Path, part: str) -> None:
    file = rows / f"train.{part}.npy"
    flip_a_bit(file)
    with pytest.raises(CorruptFile, match=file.name):
        Prepared.open(rows).open_split("train")


@pytest.mark.parametrize("checked", [Prepared.verify, lambda prepared: prepared.open_split("train")])
def test_a_bit_that_flips_after_the_check_is_refused_although_size_and_time_are_the_same(rows: Path, checked: Any) -> None:
    prepared = Prepared.open(rows)
    checked(prepared)
    flip_a_bit(rows / "train.inputs.npy")
    with pytest.raises(CorruptFile, match=r"train\.inputs\.npy"):
        prepared.open_split("train")


def test_a_mapped_split_that_is_gone_is_refused_by_name(rows: Path) -> None:
    prepared = Prepared.open(rows)
    prepared.verify()
    (rows / "train.inputs.npy").unlink()
    with pytest.raises(CorruptFile, match=r"train\.inputs\.npy.*no file"):
        prepared.open_split("train")


@pytest.mark.skipif(not Path("/proc/self/io").is_file(), reason="Linux counts what a process reads")
@pytest.mark.parametrize("verified", [False, True])
def test_files_are_hashed_once_for_each_artifact_and_again_by_verify(rows: Path, verified: bool) -> None:
    prepared = Prepared.open(rows)
    store(prepared, "train.inputs.npy", np.zeros((10_000, 25), np.float32))  # 1 MB
    if verified:
        prepared.verify()
    reads = []
    for call in (lambda: prepared.open_split("train"), lambda: prepared.open_split("train"), prepared.verify):
        before = bytes_read()
        call()
        reads.append(bytes_read() - before > 1_000_000)
    assert reads == [not verified, False, True]


def test_rows_stored_column_by_column_cannot_be_mapped_and_the_line_says_what_to_do(rows: Path) -> None:
    prepared = Prepared.open(rows)
    inputs, _ = prepared.split("train")
    store(prepared, "train.inputs.npy", np.asfortranarray(inputs))
    with pytest.raises(UserError, match=r"train\.inputs\.npy: stored column by column.*train\.in_memory=true"):
        prepared.open_split("train")
