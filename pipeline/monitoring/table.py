"""The layers of a network as a table: shapes, parameters, and multiplications for one row."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor, nn

from pipeline.monitoring.monitor import Monitor
from pipeline.monitoring.undisturbed import first_rows, undisturbed
from pipeline.tracking import Tracker
from pipeline.training.batches import Batches
from pipeline.training.state import FitState
from serving.files import write_atomic

CONVENTION = (
    "MACs: multiplications with an addition, for one row in eval mode. Linear and convolutions count theirs without the bias, "
    "normalizations one for each number they change, activations, pooling and the like none. What a network does outside of "
    "these layers is not counted."
)
_NORMALIZATIONS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FREE = {"activation", "pooling", "dropout", "flatten", "padding", "linear", "sparse", "upsampling", "pixelshuffle", "fold"}
_HEADER = ("layer", "kind", "output shape", "parameters", "trainable", "MACs a row")


class LayerRow(msgspec.Struct):
    """One layer. output_shape: of a row; empty where it never ran. macs: None where it cannot be counted."""

    name: str
    kind: str
    output_shape: list[int]
    parameters: int
    trainable: int
    macs: int | None
    calls: int = 0


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


def layer_rows(net: nn.Module, inputs: Tensor) -> list[LayerRow]:
    """Return the layers that compute or hold parameters of their own, in the order in which they were defined.

    Runs `net` on `inputs` (rows, *shape) as it is: in which mode, with or without gradients, is for the caller to choose. A
    parameter that several layers share counts for the first one; a layer that is called several times has the sum of MACs.
    """
    counted: set[int] = set()
    rows, handles = [], []
    for name, module in net.named_modules():
        own = list(module.parameters(recurse=False))
        if list(module.children()) and not own:
            continue
        new = [parameter for parameter in own if id(parameter) not in counted]
        counted |= {id(parameter) for parameter in new}
        known = 0 if _is_free(module) or _counts(module) else None
        row = LayerRow(
            name or "(model)", type(module).__name__, [], _size(new), _size(p for p in new if p.requires_grad), known
        )
        rows.append(row)
        handles.append(module.register_forward_hook(_counter(row)))
    try:
        net(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return rows


def total_of(rows: Sequence[LayerRow]) -> LayerRow:
    """Return the sums; MACs are those that could be counted."""
    parameters, trainable = sum(row.parameters for row in rows), sum(row.trainable for row in rows)
    return LayerRow("total", "", [], parameters, trainable, sum(row.macs or 0 for row in rows), calls=1)


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


def _counter(row: LayerRow) -> Any:
    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        found = next(
            (part for part in (output if isinstance(output, tuple | list) else [output]) if isinstance(part, Tensor)), None
        )
        row.calls += 1
        if found is None:
            row.macs = None
            return
        row.output_shape = list(found.shape[1:])
        if row.macs is not None:
            row.macs += _macs(module, inputs, found)

    return count


def _macs(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> int:
    """Return the MACs of one call for one row of `output` (rows, ...)."""
    numbers: int = math.prod(output.shape[1:])
    if isinstance(module, nn.Linear):
        return numbers * module.in_features
    if isinstance(module, _CONVOLUTIONS):
        return numbers * math.prod(module.kernel_size) * module.in_channels // module.groups
    if isinstance(module, _TRANSPOSED):
        given: int = math.prod(inputs[0].shape[1:])
        return given * math.prod(module.kernel_size) * module.out_channels // module.groups
    return numbers if isinstance(module, _NORMALIZATIONS) else 0


def _counts(module: nn.Module) -> bool:
    """Return whether a module's MACs are known; a subclass may compute something else."""
    return type(module) in {nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED, *_NORMALIZATIONS}


def _is_free(module: nn.Module) -> bool:
    """Return whether a module of torch multiplies no weights with inputs."""
    package, _, place = type(module).__module__.rpartition(".")
    of_torch = package == "torch.nn.modules" and place in _FREE
    weights = isinstance(module, nn.MultiheadAttention | nn.Linear | nn.Bilinear)
    return of_torch and not weights


def _size(parameters: Any) -> int:
    return sum(parameter.numel() for parameter in parameters)
