"""What can go wrong on the way from a folder to an answer.

ServingError
├── CorruptFile      a file's bytes are not the bytes whose digest was written down
├── BundleError      a bundle that is not whole, not ours, or does not chain
└── InvalidInput     a request that the schema refuses; carries the path of the offending field
"""

from pathlib import Path


class ServingError(Exception):
    """Base of every error that this package raises on purpose; the text is one line, fit for a user."""


class CorruptFile(ServingError):
    """Raised when a file's sha256 differs from the one recorded when it was written."""

    def __init__(self, path: Path, *, recorded: str, found: str) -> None:
        super().__init__(
            f"{path}: the file changed after it was written (sha256 recorded {recorded}, found {found}); "
            "restore it from a copy, or delete its folder and make it again"
        )
        self.path, self.recorded, self.found = path, recorded, found


class BundleError(ServingError):
    """Raised when a folder is not a bundle that this version can prove and serve."""


class InvalidInput(ServingError):
    """Raised when a request does not fit the schema.

    `field` is the path of the offending value, such as `inputs[3][0]` or `records[2].age`; None: the whole body is at fault.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


def first_line(error: BaseException) -> str:
    """Return an error of somebody else's code in one line: its kind, and the first line of its text, short enough to read."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
