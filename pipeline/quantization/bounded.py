"""Quantization that keeps to a budget: the layers that hurt most go back to float, one by one, until the metric holds.

The idea is NNCF's accuracy-aware quantization; here every trial is judged through the Predictor, and nothing is averaged away.
"""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from pipeline.quantization.judge import Judge, Verdict, answered
from serving.errors import ServingError, first_line
from serving.schema import Array

Calibration = str | None


class Unquantizable(Exception):
    """Raised when a model cannot be quantized in a way; its text is the reason, for people."""


class Subject(Protocol):
    """One model, one format, one method.

    layers: names of what can be quantized, in the order of the network. calibrations: ways to find ranges; (None,) where none
    is needed.
    """

    @property
    def layers(self) -> Sequence[str]:
        """Names of what can be quantized, in the order of the network."""

    @property
    def calibrations(self) -> Sequence[Calibration]:
        """Ways to find ranges of activations."""

    def quantized(self, calibration: Calibration, *, floats: Collection[str]) -> bytes:
        """Return the artifact with all layers quantized but those in `floats`; raises Unquantizable."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact that was made and measured."""

    calibration: Calibration
    float_nodes: list[str]
    verdict: Verdict


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """How the search went.

    sensitivity: (layer, error), worst first. reason: why it was given up, None when the budget holds.
    """

    layers: list[str]
    calibrations: list[Trial]
    sensitivity: list[tuple[str, float]]
    steps: list[Trial]
    reason: str | None

    @property
    def last(self) -> Trial:
        """The artifact that the search ended with."""
        return self.steps[-1]


def bounded(subject: Subject, judge: Judge, sample: Array, *, max_float_share: float) -> tuple[Found, bytes]:
    """Quantize all layers, then as few less as the budget needs; return how it went, and the last artifact.

    sample: (rows, *shape) of train rows, on which the sensitivity of each layer is measured. Raises Unquantizable when there
    is nothing to quantize or no calibration gives an artifact that loads.
    """
    layers = list(subject.layers)
    if not layers:
        raise Unquantizable("it has no layer that can be quantized this way")
    tried = [_tried(subject, judge, calibration, []) for calibration in subject.calibrations]
    best, payload = min(tried, key=lambda pair: (_loss(pair[0].verdict), pair[0].verdict.mean_abs_diff))
    trials, steps = [trial for trial, _ in tried], [best]
    if judge.within(best.verdict):
        return Found(layers=layers, calibrations=trials, sensitivity=[], steps=steps, reason=None), payload

    ranked = sensitivity(subject, judge, best.calibration, sample)
    floats: list[str] = []
    reason: str | None = None
    for layer, _ in ranked:
        if len(floats) + 1 > max_float_share * len(layers) or len(floats) + 1 == len(layers):  # nothing would be left
            reason = _too_many(judge, steps[-1], len(layers), max_float_share)
            break
        floats = [name for name in layers if name == layer or name in floats]  # in the network's order
        trial, payload = _tried(subject, judge, best.calibration, floats)
        steps.append(trial)
        if judge.within(trial.verdict):
            break
    return Found(layers=layers, calibrations=trials, sensitivity=ranked, steps=steps, reason=reason), payload


def sensitivity(subject: Subject, judge: Judge, calibration: Calibration, sample: Array) -> list[tuple[str, float]]:
    """Return each layer with the mean |difference| of answers when it alone is quantized, the worst first."""
    size = max(judge.batch_sizes)
    layers = list(subject.layers)
    # Not the float artifact: what the format itself changes is no layer's fault.
    whole = answered(judge.predictor(subject.quantized(calibration, floats=layers)), sample, size)
    errors = []
    for layer in layers:
        payload = subject.quantized(calibration, floats=[name for name in layers if name != layer])
        found = answered(judge.predictor(payload), sample, size)
        difference = np.nan_to_num(np.abs(found - whole).astype(np.float64), nan=np.inf)
        errors.append((layer, float(min(difference.mean(), np.finfo(np.float64).max))))
    return sorted(errors, key=lambda pair: -pair[1])


def _tried(subject: Subject, judge: Judge, calibration: Calibration, floats: list[str]) -> tuple[Trial, bytes]:
    payload = subject.quantized(calibration, floats=floats)
    try:
        verdict = judge.judge(payload)
    except ServingError as error:
        raise Unquantizable(f"the file does not run: {first_line(error)}") from error
    return Trial(calibration=calibration, float_nodes=list(floats), verdict=verdict), payload


def _loss(verdict: Verdict) -> float:
    """Return what tells calibrations apart: a gain is chance, and rounding of a sum must not decide."""
    return max(0.0, round(verdict.lost, 9)) if verdict.drop is not None else verdict.lost


def _too_many(judge: Judge, trial: Trial, layers: int, share: float) -> str:
    kept = len(trial.float_nodes)
    return (
        f"with {kept} of {layers} nodes in float the {judge.schema.headline} is {trial.verdict.metric:.6g} "
        f"where the float model has {judge.metric:.6g} (quantize.max_drop={judge.max_drop:g}), "
        f"and no more may stay float (quantize.max_float_share={share:g})"
    )


def told(found: Found) -> dict[str, Any]:
    """Return how a search went as plain values."""
    values: dict[str, Any] = msgspec.to_builtins(found)
    return values
