"""Which columns could be what is predicted, for those who have not said it."""

import re
from collections.abc import Sequence

from pipeline.init.facts import Fact

_NAMES = re.compile(
    r"^(target|label|labels|class|y|outcome|output|result|response|species|diagnosis|quality|rating|price|cost|value|score|"
    r"survived|churn|churned|default|fraud|spam|sales|revenue|income|is_\w+|has_\w+)$",
    re.IGNORECASE,
)
_FEW = 20  # different values that could be classes
_MOST = 40  # columns that are listed
_NUMBERS = ("Float64", "Int64")


def ask_for_target(origin: str, facts: Sequence[Fact]) -> list[str]:
    """Return lines that ask for TARGET, with each column and what it could be."""
    best = next(iter(sorted(facts, key=lambda fact: -_likely(fact, last=fact is facts[-1]))), None)
    example = best.name if best else "price"
    first = (
        f"init: which column of {origin} should be predicted? Say it with TARGET={_word(example)}, "
        "or TARGET=a,b for several; the columns are:"
    )
    width = min(30, max((len(fact.name) for fact in facts), default=0))
    lines = [f"  {fact.name:<{width}}  {_guess(fact, last=fact is facts[-1])}" for fact in facts[:_MOST]]
    return [first, *lines, *([f"  and {len(facts) - _MOST} more"] if len(facts) > _MOST else [])]


def _guess(fact: Fact, *, last: bool) -> str:
    if fact.distinct < 2:
        return f"cannot be predicted: {fact.words}"
    if fact.type not in _NUMBERS and fact.distinct > _FEW:
        return f"hardly a target: {fact.words}"
    likely = "likely: " if _likely(fact, last=last) >= 2 else ""
    return likely + (f"numbers, {fact.words}" if fact.distinct > _FEW else f"classes, {fact.words}")


def _likely(fact: Fact, *, last: bool) -> int:
    """Return points: for a name that targets have, for few classes, for standing last, as targets often do."""
    possible = fact.distinct >= 2 and (fact.type in _NUMBERS or fact.distinct <= _FEW)
    return possible * (2 * bool(_NAMES.match(fact.name.strip())) + (fact.distinct <= _FEW) + last)


def _word(name: str) -> str:
    return f"'{name}'" if re.search(r"[^\w,.-]", name) else name
