"""Errors that end a command, each with its exit code.

    SlipwayError
    ├── UserError           2   the input is wrong; one line for each fault says where, what was seen and what to do
    │   ├── ConfigError         a key or value in a config file or on the command line
    │   └── DataError           rows or columns that cannot be used
    ├── GateRefused         3   a proof failed: parity, a budget, a promotion
    ├── NonFiniteLoss       4   training became NaN or infinite
    └── Interrupted         130 a signal ended training, which is saved

A digest that does not match is `serving.errors.CorruptFile` and ends with 2 as well. Anything else is our bug: exit code 1,
with a traceback.
"""

from collections.abc import Sequence


class SlipwayError(Exception):
    """Base of every error raised on purpose; `lines` are printed one by one, without a traceback."""

    exit_code = 1

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines: Sequence[str] = lines


class UserError(SlipwayError):
    """Raised when something the user gave cannot be used."""

    exit_code = 2


class ConfigError(UserError):
    """Raised with every fault of a config at once."""


class DataError(UserError):
    """Raised when rows cannot be used; names rows, columns and values."""


class GateRefused(SlipwayError):
    """Raised when a proof fails: the result exists, but must not go on."""

    exit_code = 3


class NonFiniteLoss(SlipwayError):
    """Raised when the loss became NaN or infinite; names the epoch, the step and the rows of the batch."""

    exit_code = 4


class Interrupted(SlipwayError):
    """Raised when a signal ended training after its step was saved; says how to go on."""

    exit_code = 130
