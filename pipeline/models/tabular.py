"""The preprocessing of a table as a module: from encoded rows (serving.columns) to what a network takes, in every export.

    inputs = TableInputs(statistics["inputs"], schema.features)
    inputs(rows)        # (batch, values), NaN where missing -> (batch, inputs.width), nothing missing

The outputs, in this order: numbers; whether they were missing; one-hot categories; parts of dates; codes that the network
embeds (pipeline.models.embeddings). What is done to which position is fitted on train rows and stored as JSON (`statistics`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models.calendar import day_parts
from serving.schema import Feature, starts_of

_UNSEEN, _MISSING = 0.0, -1.0  # codes; known categories are 1, 2, …
_SUFFIXES = {part: (part,) for part in ("elapsed", "year", "day")} | {
    part: (f"{part} (sin)", f"{part} (cos)") for part in ("month", "weekday", "hour")
}
_AT_ONCE = 2**18  # numbers, 1 MiB, which stay in the processor's cache
_SPACED = np.finfo(np.float32).max / 2  # the step above the very largest number is no number
_SMALLEST_STEP = 2.0**-120  # half of it is no denormal, which a device may take for 0


class Numbers(nn.Module):
    """Numbers and booleans: filled where missing, then shifted and scaled, or mapped to their quantiles."""

    at: Tensor
    fill: Tensor
    shift: Tensor
    scale: Tensor
    start: Tensor
    length: Tensor

    def __init__(self, statistics: dict[str, Any]) -> None:
        """statistics: lists of one entry for each column: "at", "fill", "shift", "scale", and "knots" or None for all."""
        super().__init__()
        self.register_buffer("at", torch.tensor(statistics["at"]))
        self.register_buffer("fill", _floats(statistics["fill"]))
        self.by_quantile = statistics["knots"] is not None
        if self.by_quantile:
            start, length = _segments(np.asarray(statistics["knots"], dtype=np.float32))
            self.register_buffer("start", start)
            self.register_buffer("length", length)
        else:
            self.register_buffer("shift", _floats(statistics["shift"]))
            self.register_buffer("scale", _floats(statistics["scale"]))

    def forward(self, rows: Tensor) -> Tensor:
        """(batch, values) -> (batch, columns)."""
        values = rows[:, self.at]
        values = torch.where(torch.isnan(values), self.fill, values)
        if not self.by_quantile:
            return (values - self.shift) / self.scale
        if torch.compiler.is_exporting() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]  # stubs
            return self._quantiles(values)
        # A whole split comes at once in training, and what is made in between is larger than its rows by the segments.
        return torch.cat([self._quantiles(part) for part in values.split(max(1, _AT_ONCE // self.start.numel()))])

    def _quantiles(self, values: Tensor) -> Tensor:
        shares = ((values / 2).unsqueeze(2) - self.start) / self.length  # (batch, columns, segments)
        return shares.clamp(0.0, 1.0).mean(2) - 0.5


class OneHot(nn.Module):
    """Categories as one value each that is 0 or 1; all 0 for what has no value of its own."""

    at: Tensor
    code: Tensor

    def __init__(self, columns: Sequence[dict[str, Any]]) -> None:
        """columns: {"at", "categories": their number, "unseen" and "missing": whether these have a value of their own}."""
        super().__init__()
        pairs = [(column["at"], code) for column in columns for code in _codes(column)]
        self.register_buffer("at", torch.tensor([at for at, _ in pairs]))
        self.register_buffer("code", torch.tensor([code for _, code in pairs]))

    def forward(self, rows: Tensor) -> Tensor:
        """(batch, values) -> (batch, outputs)."""
        codes = rows[:, self.at]
        return (torch.where(torch.isnan(codes), _MISSING, codes) == self.code).to(rows.dtype)


class Dates(nn.Module):
    """Dates, filled where missing, as the parts that each column asks for, shifted and scaled."""

    at: Tensor
    fill: Tensor
    chosen: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, columns: Sequence[dict[str, Any]]) -> None:
        """columns: {"at": position of the day, "fill": [day, second], "parts", "shift", "scale": one for each result}."""
        super().__init__()
        self.register_buffer("at", torch.tensor([column["at"] for column in columns]))
        self.register_buffer("fill", _floats([column["fill"] for column in columns]))
        self.register_buffer("shift", _floats([value for column in columns for value in column["shift"]]))
        self.register_buffer("scale", _floats([value for column in columns for value in column["scale"]]))
        self.parts = [part for part in _SUFFIXES if any(part in column["parts"] for column in columns)]
        ends = np.cumsum([0, *(len(_SUFFIXES[part]) for part in self.parts)]).tolist()
        starts = dict(zip(self.parts, ends, strict=False))  # of each part among the numbers of one date
        chosen = [
            place * ends[-1] + starts[part] + step
            for place, column in enumerate(columns)
            for part in column["parts"]
            for step in range(len(_SUFFIXES[part]))
        ]
        self.register_buffer("chosen", torch.tensor(chosen))

    def forward(self, rows: Tensor) -> Tensor:
        """(batch, values) -> (batch, results)."""
        days, seconds = rows[:, self.at], rows[:, self.at + 1]
        missing = torch.isnan(days)
        days = torch.where(missing, self.fill[:, 0], days)
        seconds = torch.where(missing, self.fill[:, 1], seconds)
        found = day_parts(days, seconds)
        every = torch.stack([number for part in self.parts for number in found[part]], dim=2)  # (batch, dates, numbers)
        return (every.flatten(1)[:, self.chosen] - self.shift) / self.scale


class TableInputs(nn.Module):
    """All of a table's preprocessing, on its way into the exported graph."""

    indicators: Tensor
    codes: Tensor
    codes_missing: Tensor

    def __init__(self, statistics: dict[str, Any], features: Sequence[Feature] = ()) -> None:
        """statistics: "numbers", "indicators", "onehot", "dates" and "embedded" with positions in an encoded row.

        features: of the schema, for `names`.
        """
        super().__init__()
        numbers, self.features = statistics["numbers"], tuple(features)
        self.numbers = Numbers(numbers) if numbers["at"] else None
        self.onehot = OneHot(statistics["onehot"]) if statistics["onehot"] else None
        self.dates = Dates(statistics["dates"]) if statistics["dates"] else None
        embedded = statistics["embedded"]
        self.indicates = bool(statistics["indicators"])  # a tracer takes the length of a buffer for data
        self.register_buffer("indicators", torch.tensor(statistics["indicators"], dtype=torch.int64))
        self.register_buffer("codes", torch.tensor([column["at"] for column in embedded], dtype=torch.int64))
        self.register_buffer("codes_missing", _floats([column["categories"] + 1 for column in embedded]))
        self.embeddings = tuple((column["categories"] + 2, column["width"]) for column in embedded)
        self.names = tuple(_names(statistics, self.features))
        if not self.names:
            raise UserError("data: no column has more than one value in the train rows, so there is nothing to learn from")

    @property
    def width(self) -> int:
        """Number of values that a row becomes; the last `len(embeddings)` of them are codes."""
        return len(self.names)

    @property
    def is_raw(self) -> bool:
        """Whether all numbers reach the network in their own unit."""
        if self.numbers is None or self.numbers.by_quantile:
            return False
        return bool((self.numbers.scale == 1).all()) and bool((self.numbers.shift == 0).all())

    def forward(self, rows: Tensor) -> Tensor:
        """(batch, values) with NaN where missing -> (batch, width)."""
        parts = [] if self.numbers is None else [self.numbers(rows)]
        if self.indicates:
            parts.append(torch.isnan(rows[:, self.indicators]).to(rows.dtype))
        parts += [part(rows) for part in (self.onehot, self.dates) if part is not None]
        if self.embeddings:
            codes = rows[:, self.codes]
            parts.append(torch.where(torch.isnan(codes), self.codes_missing, codes))
        return torch.cat(parts, dim=1)


def _segments(knots: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[Tensor, Tensor]:
    """Return where each segment between knots starts and how long it is, both halved, (columns, segments).

    Halved, no difference of two float32 numbers overflows. Equal neighbors are a step, with the knot in its middle: equal
    values get the middle of their ranks. Its length is one or two of the smallest differences that float32 has there.
    """
    step = np.maximum(np.spacing(np.minimum(np.abs(knots[:, :-1]), _SPACED)), np.float32(_SMALLEST_STEP))
    start, length = knots[:, :-1] / 2, knots[:, 1:] / 2 - knots[:, :-1] / 2
    level = length < _SMALLEST_STEP
    return torch.from_numpy(np.where(level, start - step / 2, start)), torch.from_numpy(np.where(level, step, length))


def _codes(column: dict[str, Any]) -> list[float]:
    known = [float(code) for code in range(1, column["categories"] + 1)]
    return known + [_UNSEEN] * column["unseen"] + [_MISSING] * column["missing"]


def _names(statistics: dict[str, Any], features: Sequence[Feature]) -> list[str]:
    """Return the name of every value of a preprocessed row; of columns without a feature it holds their position."""
    by_start = dict(zip(starts_of(features), features, strict=True))

    def name(at: int) -> str:
        return by_start[at].name if at in by_start else f"value {at}"

    found = [name(at) for at in statistics["numbers"]["at"]]
    found += [f"{name(at)} is missing" for at in statistics["indicators"]]
    for column in statistics["onehot"]:
        at = column["at"]
        known = by_start[at].categories if at in by_start else map(str, range(1, column["categories"] + 1))
        found += [f"{name(at)}={category}" for category in known]
        found += [f"{name(at)} {rest}" for rest in ("unseen", "missing") if column[rest]]
    for column in statistics["dates"]:
        found += [f"{name(column['at'])} {suffix}" for part in column["parts"] for suffix in _SUFFIXES[part]]
    return found + [name(column["at"]) for column in statistics["embedded"]]


def _floats(values: Sequence[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)
