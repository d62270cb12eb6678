"""Why a measured artifact may not be served: everything in a policy that rejects, one rule after the other.

Fails closed: a number that is missing, not finite, or from windows that never agreed, rejects wherever the objective or a
budget needs it.
"""

import math
from collections.abc import Iterator, Sequence

import msgspec

from pipeline.config.choice_sections import SelectConfig
from pipeline.measuring.rows import Latency, Row
from pipeline.metrics.paired import PairedDrop
from pipeline.metrics.tasks import lower_is_better

FEWEST_OF_A_CLASS = 10  # rows: the recall of fewer jumps by more than any budget
NOT_DEPLOYABLE = frozenset({"torch_export"})  # loaded by unpickling, and no runtime of the service takes it
UNMADE = "rejected_by_quantize"  # of a file that was never measured
_ROUNDING = 1e-9  # 0.9 - 0.8 is a little more than 0.1


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a candidate is out, or did not win; value and limit, where there are numbers."""

    code: str
    text: str
    value: float | None = None
    limit: float | None = None

    @property
    def missed_by(self) -> float:
        """By which share of the limit it is missed; infinite where there is no number to compare."""
        if self.value is None or self.limit is None or not math.isfinite(self.value):
            return math.inf
        return abs(self.value - self.limit) / max(abs(self.limit), _ROUNDING)


def objective_of(row: Row, policy: SelectConfig) -> tuple[float | None, bool]:
    """Return the number that is made best, None where it is missing, and whether its windows agreed."""
    match policy.objective:
        case "latency_p50":
            return row.latency.p50_ms, not row.latency.unstable
        case "latency_p95":
            return row.latency.p95_ms, not row.latency.unstable
        case "throughput":
            best = row.best_throughput
            return (best.paired, not best.unstable) if best else (None, False)
        case "bytes":
            return row.bytes, True
        case "memory":
            return row.memory.peak_bytes, True


def rejections(row: Row, classes: Sequence[str], policy: SelectConfig) -> Iterator[Reason]:
    """Yield every reason to reject a row."""
    if row.format in NOT_DEPLOYABLE:
        yield Reason(code="not_deployable", text=f"{row.format} files are for your own use; the service does not load them")
    if row.failed is not None:
        yield Reason(code="failed", text=f"it could not be measured: {row.failed}")
        return  # the numbers that it has, if any, are of a part of the measurement
    yield from _of_metric(row, policy)
    yield from _of_classes(row, classes, policy)
    value, agreed = objective_of(row, policy)
    yield from _positive(value, policy.objective.partition("_")[0], policy.objective)
    if policy.objective == "latency_p50":
        yield from _positive(row.latency.times_faster, "ratio", "latency_p50 beside the baseline's")
    if not agreed and value is not None:
        yield _unstable(policy.objective)
    yield from _of_latency(row.latency, policy)
    if policy.max_bytes is not None:
        yield from _at_most(row.bytes, policy.max_bytes, "bytes", "the file has {:,.0f} bytes", "select.max_bytes")
    if policy.max_memory_mb is not None:
        peak = row.memory.peak_bytes
        taken = peak / 1e6 if peak is not None else None
        yield from _at_most(taken, policy.max_memory_mb, "memory", "its process takes {:,.0f} MB", "select.max_memory_mb")


def _of_latency(latency: Latency, policy: SelectConfig) -> Iterator[Reason]:
    if policy.max_p95_ms is None:
        return
    yield from _at_most(latency.p95_ms, policy.max_p95_ms, "p95", "p95 at batch 1 is {:.4g} ms", "select.max_p95_ms")
    if latency.unstable and not policy.objective.startswith("latency"):
        yield _unstable("p95")


def _of_metric(row: Row, policy: SelectConfig) -> Iterator[Reason]:
    if row.nonfinite_rows:
        text = f"{row.nonfinite_rows} validation rows have an answer that is NaN or infinite"
        yield Reason(code="not_finite_metric", text=text, value=float(row.nonfinite_rows), limit=0.0)
    else:
        yield from _finite(row.metric, "metric", "the headline metric")
    drop = row.drop
    if drop is None:
        yield Reason(code="missing_drop", text="it was not compared with the float model on the same rows")
        return
    # What was proven to be the same function needs no statistics to bound what it loses.
    most, sure = (drop.drop, "") if row.proven else (drop.bound, f" at {drop.confidence:.0%} confidence")
    share = most / abs(drop.before) if drop.before else (0.0 if most <= 0 else math.nan)
    if policy.max_drop is not None and lower_is_better(drop.metric):
        shown = f"{drop.metric} rises by up to {{:.4g}} of what it was{sure}"
        yield from _at_most(share, policy.max_drop, "drop", shown, "select.max_drop")
    elif policy.max_drop is not None:
        shown = f"{drop.metric} drops by {drop.drop:.4g}, and by up to {{:.4g}}{sure}"
        yield from _at_most(most, policy.max_drop, "drop", shown, "select.max_drop")
    if policy.max_drop_relative is not None:
        shown = f"{drop.metric} drops by up to {{:.4g}} of what it was{sure}"
        yield from _at_most(share, policy.max_drop_relative, "relative_drop", shown, "select.max_drop_relative")
    for one in row.outputs:
        yield from _of_output(one, policy, proven=row.proven)


def _of_output(drop: PairedDrop, policy: SelectConfig, *, proven: bool) -> Iterator[Reason]:
    """Judge one of several values alone: their mean is that of the largest."""
    most = drop.drop if proven else drop.bound
    share = most / abs(drop.before) if drop.before else (0.0 if most <= 0 else math.nan)
    shown = f"{_plain(drop.metric)} rises by up to {{:.4g}} of what it was"
    for limit, key in ((policy.max_drop, "max_drop"), (policy.max_drop_relative, "max_drop_relative")):
        if limit is not None:
            yield from _at_most(share, limit, "output", shown, f"select.{key}", code="output_lost")


def _plain(text: str) -> str:
    """Return a text that stands for itself in `str.format`: classes and targets may be called {a}."""
    return text.replace("{", "{{").replace("}", "}}")


def _of_classes(row: Row, classes: Sequence[str], policy: SelectConfig) -> Iterator[Reason]:
    if policy.max_class_drop is None and policy.min_class_recall is None:
        return
    found = {one.label: one for one in row.classes}
    for label in classes:
        one = found.get(label)
        if one is None or one.support is None:
            yield Reason(code="missing_class", text=f"nothing is known about class {label!r}")
            continue
        if policy.max_class_drop is not None and one.support >= FEWEST_OF_A_CLASS:
            shown = f"class {_plain(repr(label))}, {one.support} rows, loses {{:.4g}} of its recall"
            yield from _at_most(one.drop, policy.max_class_drop, "class", shown, "select.max_class_drop", code="class_lost")
        if policy.min_class_recall is not None:
            yield from _finite(one.recall, "class_recall", f"the recall of class {label!r}")
            if one.recall is not None and one.recall < policy.min_class_recall - _ROUNDING:
                text = (
                    f"class {label!r} has recall {one.recall:.4g}; select.min_class_recall asks for {policy.min_class_recall:g}"
                )
                yield Reason(code="class_below_floor", text=text, value=one.recall, limit=policy.min_class_recall)


def _at_most(
    value: float | None, limit: float, name: str, shown: str, key: str, *, code: str | None = None
) -> Iterator[Reason]:
    """Yield why a number is above its budget, or cannot be compared; shown: a sentence with a place for the number."""
    reasons = list(_finite(value, name, key))
    yield from reasons
    if not reasons and value is not None and value > limit + _ROUNDING:
        text = f"{shown.format(value)}; {key} allows {limit:,g}"
        yield Reason(code=code or f"{name}_above_budget", text=text, value=value, limit=limit)


def _positive(value: float | None, name: str, what: str) -> Iterator[Reason]:
    yield from _finite(value, name, what)
    if value is not None and value <= 0:
        yield Reason(code=f"impossible_{name}", text=f"{what} is {value:g}, which cannot be", value=value, limit=0.0)


def _finite(value: float | None, name: str, what: str) -> Iterator[Reason]:
    if value is None:
        yield Reason(code=f"missing_{name}", text=f"there is no number for {what}")
    elif not math.isfinite(value):
        yield Reason(code=f"not_finite_{name}", text=f"the number for {what} is {value}")


def _unstable(what: str) -> Reason:
    return Reason(code="unstable", text=f"windows never agreed on {what}; measure again on a quiet machine")
