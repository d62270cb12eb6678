"""Bytes on disk that can be trusted."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import CorruptFile
from serving.files import FileRecord, read_verified, record_of, sha256_of, verify, write_atomic

# fsync takes as long as the disk likes.
relaxed = settings(deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files") / "model.onnx"


@relaxed
@given(payload=st.binary(max_size=2000))
def test_what_was_written_is_what_is_read(file: Path, payload: bytes) -> None:
    record = write_atomic(file, payload)
    assert record == FileRecord(sha256=sha256_of(payload), bytes=len(payload)) == record_of(file)
    assert read_verified(file, record) == payload
    verify(file, record)


@relaxed
@given(data=st.data(), payload=st.binary(min_size=1, max_size=200))
def test_one_flipped_bit_anywhere_is_refused_with_the_file_and_both_digests(
    file: Path, data: st.DataObject, payload: bytes
) -> None:
    record = write_atomic(file, payload)
    bit = data.draw(st.integers(0, 8 * len(payload) - 1))
    damaged = bytearray(payload)
    damaged[bit // 8] ^= 1 << bit % 8
    file.write_bytes(damaged)
    for check in (read_verified, verify):
        with pytest.raises(CorruptFile) as caught:
            check(file, record)
        message = str(caught.value)
        assert str(file) in message
        assert record.sha256 in message
        assert sha256_of(bytes(damaged)) in message
        assert (caught.value.path, caught.value.recorded) == (file, record.sha256)


@pytest.mark.parametrize("length", [0, 1, 9])
def test_a_file_that_was_cut_off_is_refused(file: Path, length: int) -> None:
    record = write_atomic(file, b"0123456789")
    file.write_bytes(b"0123456789"[:length])
    with pytest.raises(CorruptFile, match="changed after it was written"):
        read_verified(file, record)


@pytest.mark.parametrize("payload", [b"model", b""])
def test_a_missing_file_is_refused_even_where_an_empty_one_was_recorded(tmp_path: Path, payload: bytes) -> None:
    record = write_atomic(tmp_path / "gone", payload)
    (tmp_path / "gone").unlink()
    for check in (read_verified, verify):
        with pytest.raises(CorruptFile, match=f"recorded {record.sha256}, found no file"):
            check(tmp_path / "gone", record)


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    record = write_atomic(tmp_path / "file", b"model")
    (tmp_path / "file").unlink()
    (tmp_path / "file").mkdir()
    with pytest.raises(CorruptFile, match="found no file"):
        read_verified(tmp_path / "file", record)


def test_a_disk_that_fills_up_midway_leaves_the_old_content_and_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    record = write_atomic(path, b"old")
    # A limit on file sizes fails a write after its first part, as a full disk does.
    script = """
import resource, sys
from pathlib import Path
from serving.files import write_atomic

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomic(Path(sys.argv[1]), bytes(300_000))
except OSError as error:
    sys.exit(error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (1, "File too large")
    assert read_verified(path, record) == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_target_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "folder", b"model")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_a_written_file_can_be_read_by_the_account_that_serves_it(tmp_path: Path) -> None:
    write_atomic(tmp_path / "model.onnx", b"model")
    assert (tmp_path / "model.onnx").stat().st_mode & 0o777 == 0o644
