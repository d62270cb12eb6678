"""Which artifact is served: a function of measured rows and the policy, without a look at anything else.

decision = decide(benchmark.rows, schema.classes, config.select)
decision.winner                # "train-int8.onnx", or None
decision.candidates[0].reasons # [Reason("drop_above_budget", "…", value=0.031, limit=0.02)]

Fails closed: a number that is missing, not finite, or from windows that never agreed, rejects wherever the objective or a
budget needs it.
"""

from collections.abc import Sequence

import msgspec

from pipeline.config.choice_sections import SelectConfig
from pipeline.measuring.rejections import Reason, objective_of, rejections
from pipeline.measuring.rows import Row
from pipeline.metrics.tasks import lower_is_better

_UNITS = {"latency_p50": "ms", "latency_p95": "ms", "throughput": "rows/s", "bytes": "bytes", "memory": "bytes"}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided about one candidate; `reasons` of an accepted one say why another one won."""

    file: str
    accepted: bool
    objective: float | None
    metric: float | None
    reasons: list[Reason] = []


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Verdicts in the order of the rows; ranking: the accepted ones, the winner first."""

    objective: str
    candidates: list[Verdict]
    ranking: list[str]
    winner: str | None


def decide(rows: Sequence[Row], classes: Sequence[str], policy: SelectConfig, *, gone: Sequence[Verdict] = ()) -> Decision:
    """Judge each row, and rank those within every budget.

    classes: of the schema, empty for values; each must be judged. gone: verdicts on what was rejected before it could be
    measured, which stand after those of the rows. Candidates within `policy.tie` of the best objective share
    the first place, and of them the one with the best metric wins, then the one with the best objective.
    """
    reasons = {row.file: list(rejections(row, classes, policy)) for row in rows}
    accepted = sorted((row for row in rows if not reasons[row.file]), key=lambda row: (_cost(row, policy), row.file))
    ranked = _ranked(accepted, policy)
    for row in ranked[1:]:
        reasons[row.file] = [_why_second(row, ranked[0], policy)]
    files = [row.file for row in ranked]
    return Decision(
        objective=policy.objective,
        candidates=[
            Verdict(
                file=row.file,
                accepted=row.file in files,
                objective=objective_of(row, policy)[0],
                metric=row.metric,
                reasons=reasons[row.file],
            )
            for row in rows
        ]
        + list(gone),
        ranking=files,
        winner=files[0] if files else None,
    )


def _cost(row: Row, policy: SelectConfig) -> float:
    """Return the objective such that less is better; only of accepted rows.

    A median latency counts as a share of the baseline's in the same rounds, and so do rows in a second (`Throughput.paired`):
    artifacts are done after different rounds, and a machine that slows down meanwhile must not choose.
    """
    value, _ = objective_of(row, policy)
    assert value is not None
    if policy.objective == "latency_p50" and row.latency.times_faster:
        return 1 / row.latency.times_faster
    return 1 / value if policy.objective == "throughput" else value


def _ranked(accepted: Sequence[Row], policy: SelectConfig) -> list[Row]:
    """Return rows, which come sorted by their cost, with those that share the first place sorted by their metric."""
    if not accepted:
        return []
    share = 1 / (1 - policy.tie) if policy.objective == "throughput" else 1 + policy.tie
    most = _cost(accepted[0], policy) * share
    first = [row for row in accepted if _cost(row, policy) <= most]
    return sorted(first, key=_badness) + list(accepted[len(first) :])  # sorted is stable: equals stay in order of cost


def _badness(row: Row) -> float:
    assert row.metric is not None
    assert row.drop is not None
    return row.metric if lower_is_better(row.drop.metric) else -row.metric


def _why_second(row: Row, winner: Row, policy: SelectConfig) -> Reason:
    """Say by what an accepted candidate stands behind the winner."""
    mine, best = objective_of(row, policy)[0], objective_of(winner, policy)[0]
    assert mine is not None
    assert best is not None
    assert row.metric is not None
    assert winner.metric is not None
    if _badness(row) > _badness(winner) and _cost(row, policy) <= _cost(winner, policy):
        text = (
            f"as good in {policy.objective} as {winner.file}, with the worse metric: {row.metric:.4g}, not {winner.metric:.4g}"
        )
        return Reason(code="tied_with_worse_metric", text=text, value=row.metric, limit=winner.metric)
    word = "larger" if policy.objective in {"bytes", "memory"} else "slower"
    unit = _UNITS[policy.objective]
    text = f"{policy.objective} is {mine:,.4g} {unit}{_beside(row, policy)}; that of {winner.file} is {best:,.4g} {unit}"
    text += _beside(winner, policy)
    return Reason(code=f"{word}_than_best", text=text, value=float(mine), limit=float(best))


def _beside(row: Row, policy: SelectConfig) -> str:
    """Return the ratio that a median latency is ranked by, which tells of a machine that slowed down."""
    if policy.objective != "latency_p50":
        return ""
    return f", {row.latency.times_faster:.3g} times faster than eager"
