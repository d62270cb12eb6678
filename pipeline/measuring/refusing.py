"""What a user reads when no artifact fits: the nearest miss first, then every candidate in one line."""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.config.choice_sections import SelectConfig
from pipeline.measuring.policy import Decision, Verdict
from pipeline.measuring.rejections import UNMADE
from pipeline.measuring.rows import Row
from pipeline.metrics.paired import paired_proportions

_MOST_LINES = 12


def refusal_lines(decision: Decision, rows: Sequence[Row], policy: SelectConfig) -> list[str]:
    """Return the lines of a refusal, at most 12; only of a decision without a winner. rows: that it was made from."""
    measured = [one for one in decision.candidates if all(reason.code != UNMADE for reason in one.reasons)]
    nearest = min(measured or decision.candidates, key=missed_by, default=None)
    if nearest is None:
        return ["select: there is no artifact to choose from; add to export.formats or to benchmark.precisions"]
    count = len(decision.candidates)
    head = f"select: none of {count} artifacts fits the budgets" if count > 1 else "select: the only artifact does not fit"
    if math.isfinite(missed_by(nearest)[1]):
        worst = max(nearest.reasons, key=lambda reason: reason.missed_by)
        far = f" (missed by {worst.missed_by:.1%} of the limit)" if worst.missed_by < 1 else ""
        head += f"; nearest is {nearest.file}: {worst.text}{far}"
        head += "; change that budget, or make other artifacts (export.variants, quantize)"
    else:
        head += ", since numbers are missing or never settled; `benchmark`, asked for by itself, measures again"
    lines = [f"{one.file}: {'; '.join(reason.text for reason in one.reasons)}" for one in decision.candidates]
    if len(lines) > _MOST_LINES - 2:
        lines = [*lines[: _MOST_LINES - 3], f"and {len(lines) - _MOST_LINES + 3} more, in decision.json"]
    return [head, *_too_few_rows(decision, rows, policy), *lines]


def _too_few_rows(decision: Decision, rows: Sequence[Row], policy: SelectConfig) -> list[str]:
    """Say so where the budget of the drop cannot be met at all: few rows leave room for a loss even of the same answers."""
    if not any(reason.code == "drop_above_budget" for one in decision.candidates for reason in one.reasons):
        return []
    drop = next((row.drop for row in rows if row.drop is not None and row.drop.lost is not None), None)
    if drop is None or policy.max_drop is None:
        return []
    right = np.ones(drop.rows, dtype=np.bool)
    least = paired_proportions(right, right, metric=drop.metric, confidence=drop.confidence).bound
    if least <= policy.max_drop:
        return []
    words = f"even the same answers on {drop.rows} validation rows could hide a drop of {least:.3g}"
    return [f"select.max_drop is {policy.max_drop:g}, but {words}: raise it, or validate on more rows"]


def missed_by(verdict: Verdict) -> tuple[int, float, float]:
    """Return how far a rejected candidate is from being accepted: what has no number last, then the largest miss, then all."""
    misses = [reason.missed_by for reason in verdict.reasons]
    unknown = sum(not math.isfinite(miss) for miss in misses)
    return unknown, max(misses, default=0.0), sum(misses)
