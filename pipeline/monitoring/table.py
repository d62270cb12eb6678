"""The layers of a network as a table: shapes, parameters, and multiplications for one row."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from pipeline.models.macs import CONVENTION, LayerRow, layer_rows, total_of
from pipeline.monitoring.monitor import Monitor
from pipeline.monitoring.undisturbed import first_rows, undisturbed
from pipeline.tracking import Tracker
from pipeline.training.batches import Batches
from pipeline.training.state import FitState
from serving.files import write_atomic

_HEADER = ("layer", "kind", "output shape", "parameters", "trainable", "MACs a row")


class LayerTable(Monitor):
    """Writes `layers.txt` and `layers.json` and records the table as the text `layers`, once."""

    name = "layer_table"

    def __init__(self, validation: Batches, tracker: Tracker, out: Path) -> None:
        """Look with two rows of `validation`."""
        self._validation, self._tracker, self._out = validation, tracker, out

    def at_start(self, state: FitState) -> None:
        """Make it."""
        inputs, _ = first_rows(self._validation, 2)
        with undisturbed(state):
            rows = layer_rows(state.net, inputs)
        total = total_of(rows)
        content = {"convention": CONVENTION, "layers": rows, "total": total}
        write_atomic(self._out / "layers.json", msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
        write_atomic(self._out / "layers.txt", (aligned([*rows, total]) + f"\n\n{CONVENTION}\n").encode())
        self._tracker.text({"layers": f"{markdown([*rows, total])}\n\n{CONVENTION}"})


def aligned(rows: Sequence[LayerRow]) -> str:
    """Return a table for a file: columns under each other, numbers to the right, the last row apart."""
    lines = [_HEADER, *_cells(rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    shown = [
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join(line.rstrip() for line in [shown[0], rule, *shown[1:-1], rule, shown[-1]])


def markdown(rows: Sequence[LayerRow]) -> str:
    """Return the table as Markdown."""
    lines = [_HEADER, ("---", "---", "---", "---:", "---:", "---:"), *_cells(rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(rows: Sequence[LayerRow]) -> list[tuple[str, ...]]:
    whole = all(row.macs is not None for row in rows)
    cells: list[tuple[str, ...]] = []
    for row in rows:
        kind = f"{row.kind} x{row.calls}" if row.calls > 1 else row.kind
        shape = " x ".join(map(str, row.output_shape)) if row.calls else "never called"
        macs = "not counted" if row.macs is None else f"{row.macs:,}"
        if row.name == "total" and not whole:
            macs = f"at least {macs}"
        cells.append(
            (
                row.name,
                kind,
                "" if row.name == "total" else shape or "one number",
                f"{row.parameters:,}",
                f"{row.trainable:,}",
                macs,
            )
        )
    return cells
