"""Which checks run when: cheap ones before each training, all of them on request."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import msgspec
import torch

from pipeline.config import Config
from pipeline.errors import GateRefused
from pipeline.models.registry import CUSTOM
from pipeline.sanity.exports import check_exports, check_trace
from pipeline.sanity.finding import Finding
from pipeline.sanity.gradients import check_gradients, check_input_matters
from pipeline.sanity.learning import check_labels, check_overfits
from pipeline.sanity.modes import check_eval_mode, check_rows_apart, check_train_mode
from pipeline.sanity.start import check_first_loss, check_input_scale, check_target_scale
from pipeline.sanity.subject import Settings, Subject, subject_of
from pipeline.tracking import Tracker
from pipeline.training.assembly import Assembly
from pipeline.training.randomness import kept_rng
from pipeline.training.step import out_of_memory
from serving.errors import first_line

Check = Callable[[Subject], list[Finding]]
_QUICK: Sequence[tuple[str, Check]] = (  # those that may refuse a training first: a large network may take all of the budget
    ("gradients", check_gradients),
    ("input matters", check_input_matters),
    ("rows apart", check_rows_apart),
    ("eval mode", check_eval_mode),
    ("train mode", check_train_mode),
    ("input scale", check_input_scale),
    ("target scale", check_target_scale),
    ("first loss", check_first_loss),
)
_TRACE: tuple[str, Check] = ("as torchscript", check_trace)
_SLOW: Sequence[tuple[str, Check]] = (("learn by heart", check_overfits), ("labels fit", check_labels))


def full_checks(parts: Assembly, config: Config) -> Iterator[Finding]:
    """Yield the finding of every check as soon as it is there; seconds for a small network."""
    exports: tuple[str, Check] = ("export", partial(check_exports, config=config.export))
    with _unchanged():
        yield from _findings([*_QUICK, *_SLOW, exports], subject_of(parts, config))


def quick_checks(parts: Assembly, config: Settings, *, budget_s: float = 0.5) -> list[Finding]:
    """Return the findings of the cheap checks; no further one begins when `budget_s` seconds are over."""
    ends = time.perf_counter() + budget_s
    with _unchanged():
        return list(_findings([*_QUICK, _TRACE], subject_of(parts, config), ends))


def _findings(checks: Sequence[tuple[str, Check]], subject: Subject, ends: float = math.inf) -> Iterator[Finding]:
    """Yield what checks find; an error of the user's own model is told once, though it may end several."""
    told = set()
    for name, check in checks:
        if time.perf_counter() > ends:
            return
        for finding in _guarded(name, check, subject):
            if finding.level != "FAIL" or finding.text not in told:
                yield finding
            told.add(finding.text)


def check_before_training(parts: Assembly, config: Settings, tracker: Tracker) -> None:
    """Tell the tracker what the cheap checks found; raise GateRefused where a training would be meaningless."""
    if not config.train.sanity:
        return
    started = time.perf_counter()
    findings = quick_checks(parts, config)
    seconds = round(time.perf_counter() - started, 3)
    tracker.event("sanity", findings=msgspec.to_builtins(findings), seconds=seconds)
    stops = [finding for finding in findings if finding.stops]
    if stops:
        raise GateRefused(
            *(f"sanity: {finding.check}: {finding.text}" for finding in stops),
            "nothing was trained; mend the model, or train all the same with train.sanity=false",
        )


def _guarded(name: str, check: Check, subject: Subject) -> list[Finding]:
    """Return the findings of a check; an error of the user's own model is one."""
    try:
        return check(subject)
    except Exception as error:  # a user's forward() raises what it likes
        if out_of_memory(error):
            return [Finding("WARN", name, f"not judged, memory does not suffice: {first_line(error)}")]
        if subject.architecture.name != CUSTOM:
            raise
        return [Finding("FAIL", name, f"the model fails: {first_line(error)}; it must take any rows, in train() and in eval()")]


@contextmanager
def _unchanged() -> Iterator[None]:
    """Leave generators and flags as they were; gradients with respect to inputs may use kernels that training never does."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    with kept_rng():
        torch.use_deterministic_algorithms(mode=False)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(mode=deterministic)
