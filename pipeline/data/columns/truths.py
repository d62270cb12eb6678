"""Which two texts mean no and yes."""

from pipeline.data.columns.facts import Facts
from serving.columns import fold, text_of

_PAIRS = (
    ("no", "yes"), ("false", "true"), ("f", "t"), ("n", "y"), ("off", "on"), ("0", "1"), ("nein", "ja"), ("non", "oui"),
    ("no", "sí"), ("no", "si"), ("nee", "ja"), ("nej", "ja"), ("não", "sim"), ("nie", "tak"), ("нет", "да"),
)  # fmt: skip


def meanings_of(column: Facts) -> tuple[str, str] | None:
    """Return the folded texts of no and yes where a column has exactly the two of a known pair, else None."""
    import polars as pl

    if column.dtype == pl.Boolean:
        return "false", "true"
    if column.counts is None:
        return None
    seen = {fold(text_of(cell)) for cell in column.counts}
    return next((pair for pair in _PAIRS if seen == set(pair)), None)
