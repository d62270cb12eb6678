"""What a check says: one line."""

from collections.abc import Sequence
from typing import Literal

import msgspec

_SHOWN = 4  # names in one line


class Finding(msgspec.Struct, frozen=True):
    """The answer of one check. `stops`: training would be meaningless, so it is refused."""

    level: Literal["PASS", "WARN", "FAIL"]
    check: str
    text: str
    stops: bool = False

    def line(self) -> str:
        """Return the finding as it is printed."""
        return f"{self.level}  {self.check:<14}  {self.text}"


def named(names: Sequence[str]) -> str:
    """Return some names, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
