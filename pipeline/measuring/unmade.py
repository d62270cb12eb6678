"""Files that `quantize` made and rejected: no candidates, but a decision says what became of them."""

from collections.abc import Sequence

import msgspec

from pipeline.measuring.policy import Verdict
from pipeline.measuring.rejections import UNMADE, Reason


class _Judged(msgspec.Struct, frozen=True):
    metric: float | None = None
    drop: float | None = None


class _Step(msgspec.Struct, frozen=True):
    verdict: _Judged = _Judged()


class _Search(msgspec.Struct, frozen=True):
    """reason: set where the metric lost too much; other reasons have no number."""

    steps: list[_Step] = []
    reason: str | None = None


class _Tried(msgspec.Struct, frozen=True):
    file: str
    weights: str
    reason: str | None = None
    max_drop: float | None = None
    search: _Search | None = None


class _Story(msgspec.Struct, frozen=True):
    """The part of `quantization.json` that a decision repeats."""

    artifacts: list[_Tried]


def unmade(quantization: bytes, made: Sequence[str]) -> list[Verdict]:
    """Return a rejection for each file that quantize tried and did not keep, of the weights that it tried last.

    quantization: content of `quantization.json`. made: names of the files that it kept.
    """
    story = msgspec.json.decode(quantization, type=_Story)
    last = {tried.file: tried for tried in story.artifacts if tried.file not in made}
    return [_verdict(tried) for tried in last.values()]


def _verdict(tried: _Tried) -> Verdict:
    search = tried.search or _Search()
    judged = search.steps[-1].verdict if search.steps else _Judged()
    lost = search.reason is not None
    reason = Reason(
        code=UNMADE,
        text=f"quantize made it of {tried.weights} weights and rejected it: {tried.reason}",
        value=judged.drop if lost else None,
        limit=tried.max_drop if lost else None,
    )
    return Verdict(file=tried.file, accepted=False, objective=None, metric=judged.metric, reasons=[reason])
