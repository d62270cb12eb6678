"""From a source to split, checked, described and measured rows on disk.

    summary = prepare(config.data, config.prepare, out=folder, tracker=tracker)

The same for the whole data and for one fold of a cross-validation: what is fitted is fitted on the train rows of that split.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS, Prepared, Split
from pipeline.config.data_sections import DataConfig
from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.array_flow import ArrayFlow
from pipeline.data.checks import check_rows
from pipeline.data.checks.duplicates import duplicates
from pipeline.data.checks.subject import Subject
from pipeline.data.columns.inference import infer_columns
from pipeline.data.columns.keys import Keys
from pipeline.data.findings import Finding, enforced
from pipeline.data.flow import Flow
from pipeline.data.row_files import read_sample, write_array
from pipeline.data.sources import open_source
from pipeline.data.splitting.duplicates import Grouping, exact_groups, merge, near_groups
from pipeline.data.splitting.folds import fold_rows
from pipeline.data.splitting.splits import Splits, split_rows
from pipeline.data.splitting.strata import strata_of
from pipeline.data.statistics import fit_target
from pipeline.data.table import Table
from pipeline.data.table_flow import TableFlow
from pipeline.errors import DataError, UserError
from pipeline.tracking import Tracker
from serving.files import write_atomic
from serving.schema import Schema

_SAMPLE = 100_000  # rows of each split that checks and the report look at
_DAY_S = 86_400
_NORMAL_IQR = 1.349  # distance of the quartiles of a normal distribution, in standard deviations
_PICTURE_TOLERANCE = 2 / 255  # of a thumbnail's gray: more than another compression of the same picture changes


@dataclass(frozen=True)
class Fold:
    """One of several splits of the rows that are no test rows; `number` counts from 0."""

    number: int
    of: int


@dataclass(frozen=True)
class Summary:
    """What was prepared: what a row is, rows of each split, what checks found, and all that the report draws."""

    schema: Schema
    counts: dict[Split, int]
    findings: list[Finding]
    subject: Subject
    ignored: dict[str, str]
    duplicates: dict[str, int]
    origin: str


def prepare(data: DataConfig, section: PrepareConfig, *, out: Path, tracker: Tracker, fold: Fold | None = None) -> Summary:
    """Write the files of a Prepared folder below `out`, all but the manifest.

    Raises DataError with a line for each check that failed, and UserError for what cannot be read or split.
    """
    scratch = out / "scratch"
    scratch.mkdir()
    try:
        tracker.event("working_on", what="reading rows")
        flow = _open(data, section, scratch, tracker)
        told = enforced(flow.about.findings, section.allow)
        tracker.event("working_on", what="looking for duplicates")
        keys = flow.keys(tracker.progress)
        split = _split(flow, keys, section, fold)
        tracker.event("working_on", what="encoding rows")
        schema, inputs = flow.write(split.assignment, out, tracker.progress)
        target = _write_rest(keys, split.assignment, schema, section, out)
        write_atomic(out / Prepared.SCHEMA, msgspec.json.format(msgspec.json.encode(schema), indent=2))
        write_atomic(out / Prepared.STATISTICS, msgspec.json.encode({"inputs": inputs, "target": target}))
    finally:
        shutil.rmtree(scratch)
    tracker.event("working_on", what="checking rows")
    counts: dict[Split, int] = {name: int((split.assignment == index).sum()) for index, name in enumerate(SPLITS)}
    subject = _subject(schema, section, out, split.groups, counts, flow)
    told += split.findings
    if fold is None:
        found = check_rows(subject, classes=_class_counts(schema, keys, split.assignment), boundary_day=split.boundary_day)
        told += enforced(found, section.allow)
    return Summary(
        schema=schema,
        counts=counts,
        findings=told,
        subject=subject,
        ignored=flow.about.ignored,
        duplicates={"exact": split.grouping.exact, "near": split.grouping.near},
        origin=flow.about.origin,
    )


def _open(data: DataConfig, section: PrepareConfig, scratch: Path, tracker: Tracker) -> Flow:
    opened = open_source(data, scratch, tell=tracker.progress)
    if not isinstance(opened.source, Table):
        return ArrayFlow(opened.source, section)
    leave_out = {section.split_column: f"the split goes by it (prepare.split={section.split})"} if section.split_column else {}
    columns = infer_columns(opened.source, target=opened.target, task=opened.task, columns=opened.kinds, leave_out=leave_out)
    return TableFlow(opened.source, columns, section)


@dataclass(frozen=True)
class _Split:
    """Split of every row of the source, an index into SPLITS, -1 where it is left out; its group; when validation begins."""

    assignment: NDArray[np.int8]
    groups: NDArray[np.int64]
    grouping: Grouping
    findings: list[Finding]
    boundary_day: float | None


def _split(flow: Flow, keys: Keys, section: PrepareConfig, fold: Fold | None) -> _Split:
    """Split the rows that have a target; of the others nothing is looked at."""
    used = np.flatnonzero(keys.usable)
    grouping = _grouping(flow, keys, section)
    together = grouping.groups if section.duplicates == "together" else np.arange(len(used))
    if keys.group is not None:
        together = merge(together, exact_groups(keys.group[used]))
    strata = strata_of(keys.targets, flow.about.task)

    if (section.split == "files") != (keys.given is not None) and section.split not in {"auto", "column"}:
        has = "has no files of its own for them: set data.test_path" if keys.given is None else "names data.test_path"
        raise UserError(f"prepare.split: {section.split}, but the data {has}; or leave prepare.split=auto")

    def place(row: int) -> str:
        return flow.about.place(int(used[row]))

    splits = split_rows(
        together,
        strata=strata,
        section=section,
        order=None if keys.order is None else keys.order[used],
        given=None if keys.given is None else keys.given[used],
        classes=flow.about.classes if flow.about.task == "classification" else (),
        place=place,
    )
    if fold is not None:
        chosen = fold_rows(together, strata, splits=splits.assignment, folds=fold.of, fold=fold.number, section=section)
        splits = Splits(chosen)
    assignment, groups = np.full(len(keys.usable), -1, dtype=np.int8), np.full(len(keys.usable), -1, dtype=np.int64)
    assignment[used], groups[used] = splits.assignment, grouping.groups
    findings = [*splits.findings, *duplicates(grouping, section, place=place)]
    return _Split(assignment, groups, grouping, findings, None if splits.starts is None else splits.starts / _DAY_S)


def _grouping(flow: Flow, keys: Keys, section: PrepareConfig) -> Grouping:
    """Return which of the rows with a target have the same, or nearly the same, inputs."""
    exact = exact_groups(keys.hashes if keys.usable.all() else keys.hashes[keys.usable])
    if keys.numbers is None or keys.rest is None:
        return Grouping(exact, len(exact) - int(exact.max(initial=-1)) - 1)
    numbers, rest = keys.numbers[keys.usable], keys.rest[keys.usable]
    if isinstance(flow, ArrayFlow):
        return near_groups(numbers, rest, exact, tolerance=_PICTURE_TOLERANCE)
    return near_groups(_in_spreads(numbers), rest, exact, tolerance=section.near_duplicates)


def _in_spreads(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each column in units of its spread: (rows, columns), NaN where there is no finite number.

    The spread is the standard deviation, or what the quartiles of a normal distribution say it is, where that is smaller: one
    999999999 among ages must not make all ages nearly the same.
    """
    scaled = np.where(np.isfinite(numbers), numbers, np.nan).astype(np.float64)
    for index in range(scaled.shape[1]):
        values = scaled[~np.isnan(scaled[:, index]), index]
        if values.size:
            low, high = np.quantile(values, (0.25, 0.75))
            spreads = [spread for spread in (values.std(), (high - low) / _NORMAL_IQR) if spread > 0]
            scaled[:, index] /= min(spreads, default=1.0)
    return scaled.astype(np.float32)


def _write_rest(keys: Keys, assignment: NDArray[np.int8], schema: Schema, section: PrepareConfig, out: Path) -> dict[str, Any]:
    """Write the targets of each split and the numbers of its rows; return the statistics of the train rows' targets."""
    used = assignment[keys.usable]
    train = keys.targets[used == 0]
    for index, split in enumerate(SPLITS):
        write_array(out / f"{split}.targets.npy", keys.targets[used == index])
        write_array(out / f"{split}.rows.npy", np.flatnonzero(assignment == index))
    if schema.task != "regression":
        return {"shift": 0.0, "scale": 1.0, "log": False}
    lowest = float(keys.targets.min())
    if section.normalize_target == "log" and lowest <= -1:
        raise DataError(
            f"data: target {schema.target!r} goes down to {lowest:g}, and prepare.normalize_target=log takes the logarithm of "
            "1 + target; choose standard"
        )
    return fit_target(train, section.normalize_target)


def _class_counts(schema: Schema, keys: Keys, assignment: NDArray[np.int8]) -> dict[Split, NDArray[np.int64]]:
    """Return the rows of each class, or label, in each split; no numbers for a regression."""
    used = assignment[keys.usable]
    counts: dict[Split, NDArray[np.int64]] = {}
    for index, split in enumerate(SPLITS):
        targets = keys.targets[used == index]
        if schema.task == "classification":
            counts[split] = np.bincount(targets, minlength=len(schema.classes))
        else:
            counts[split] = (targets > 0.5).sum(axis=0) if schema.task == "multilabel" else np.zeros(0, dtype=np.int64)
    return counts


def _subject(
    schema: Schema,
    section: PrepareConfig,
    out: Path,
    groups: NDArray[np.int64],
    counts: dict[Split, int],
    flow: Flow,
) -> Subject:
    """Read a sample of what was written, evenly spread."""
    inputs: dict[Split, Any] = {}
    targets: dict[Split, Any] = {}
    rows: dict[Split, Any] = {}
    for split in SPLITS:
        step = max(1, -(-counts[split] // _SAMPLE))
        positions = np.arange(0, counts[split], step)
        inputs[split], targets[split], rows[split] = (
            read_sample(out / f"{split}.{part}.npy", positions) for part in ("inputs", "targets", "rows")
        )
    return Subject(
        schema=schema,
        section=section,
        inputs=inputs,
        targets=targets,
        rows=rows,
        groups={split: groups[rows[split]] for split in SPLITS},
        counts=counts,
        place=flow.about.place,
    )
