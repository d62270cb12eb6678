"""Original picture files travel with a model only where they are small: a service reads them all when it starts."""

import base64
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.array_flow import ArrayFlow
from pipeline.data.table import Arrays


def kept(sizes: list[int], out: Path) -> tuple[list[int], list[bytes]]:
    """Write validation rows whose original files have these sizes; return what is kept of them."""
    inputs = np.zeros((len(sizes) + 1, 2, 2), dtype=np.uint8)
    targets = np.arange(len(inputs)) % 2
    arrays = Arrays(
        inputs,
        targets,
        "classification",
        "label",
        "pictures",
        ("a", "b"),
        picture="L",
        original=lambda row: bytes([row]) * sizes[row - 1],
    )
    assignment = np.array([0] + [1] * len(sizes), dtype=np.int8)
    ArrayFlow(arrays, PrepareConfig()).write(assignment, out, lambda done, total: None)
    found = msgspec.json.decode((out / "pictures.json").read_bytes())
    return found["rows"], [base64.b64decode(picture) for picture in found["pictures"]]


def test_an_original_of_more_than_a_megabyte_stays_behind(tmp_path: Path) -> None:
    rows, files = kept([10, 1_000_001, 1_000_000], tmp_path)
    assert rows == [0, 2]
    assert files == [bytes([1]) * 10, bytes([3]) * 1_000_000]


@pytest.mark.parametrize(("sizes", "count"), [([900_000] * 8, 4), ([500_000] * 8, 8), ([2_000_000] * 8, 0)])
def test_originals_are_four_megabytes_in_all_at_most(sizes: list[int], count: int, tmp_path: Path) -> None:
    rows, files = kept(sizes, tmp_path)
    assert (len(rows), len(files)) == (count, count)
