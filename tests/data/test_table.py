"""A table is read in chunks that begin at the same rows each time."""

import polars as pl
import pytest

from pipeline.data import table
from pipeline.data.table import Table


@pytest.mark.parametrize("sizes", [[7, 7, 7], [25, 1, 3], [10, 10], [3], [1] * 23, [40]])
def test_chunks_begin_at_multiples_of_their_size_however_the_source_is_cut(
    sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "CHUNK_ROWS", 10)
    whole = pl.DataFrame({"a": range(sum(sizes)), "b": ["x"] * sum(sizes)})
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    shards = [whole.slice(start, size).lazy() for start, size in zip(starts, sizes, strict=True)]
    chunks = list(Table(pl.concat(shards), len(whole), "shards").chunks(["b", "a"]))
    assert [start for start, _ in chunks] == list(range(0, len(whole), 10))
    assert all(len(chunk) == 10 for _, chunk in chunks[:-1])
    assert pl.concat([chunk for _, chunk in chunks]).equals(whole.select("b", "a"))
