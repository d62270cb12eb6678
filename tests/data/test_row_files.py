"""Rows on disk: each split gets its rows in the order of the source, in files that numpy reads."""

from pathlib import Path

import numpy as np

from pipeline.data.row_files import SplitFiles, read_columns, read_sample, write_array


def test_rows_go_to_their_splits_in_order_and_rows_left_out_go_nowhere(tmp_path: Path) -> None:
    rows = np.arange(24, dtype=np.float32).reshape(8, 3)
    assignment = np.array([0, 2, -1, 1, 0, 0, 2, -1], dtype=np.int8)
    with SplitFiles(tmp_path, assignment, (3,)) as files:
        files.write(0, rows[:5])
        files.write(5, rows[5:])
    for index, split in enumerate(("train", "validation", "test")):
        np.testing.assert_array_equal(np.load(tmp_path / f"{split}.inputs.npy"), rows[assignment == index])


def test_columns_and_rows_are_read_back_without_the_rest(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
    write_array(tmp_path / "rows.npy", rows)
    np.testing.assert_array_equal(read_columns(tmp_path / "rows.npy", [3, 1]), rows[:, [3, 1]])
    chosen = np.array([0, 7, 999])
    np.testing.assert_array_equal(read_sample(tmp_path / "rows.npy", chosen), rows[chosen])


def test_large_files_are_read_in_blocks_with_the_same_result(tmp_path: Path) -> None:
    rows = np.arange(3_000_000 * 4, dtype=np.float32).reshape(-1, 4)  # 48 MB: several blocks
    write_array(tmp_path / "rows.npy", rows)
    np.testing.assert_array_equal(read_columns(tmp_path / "rows.npy", [2]), rows[:, [2]])
    chosen = np.arange(0, len(rows), 1001)
    np.testing.assert_array_equal(read_sample(tmp_path / "rows.npy", chosen), rows[chosen])


def test_no_rows_are_rows_too(tmp_path: Path) -> None:
    write_array(tmp_path / "none.npy", np.empty((0, 4), dtype=np.float32))
    assert read_columns(tmp_path / "none.npy", [0]).shape == (0, 1)
    assert read_sample(tmp_path / "none.npy", np.array([], dtype=np.int64)).shape == (0, 4)
