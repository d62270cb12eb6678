"""Data sets that are fetched: kept below `data/downloads`, with a digest of what came first.

A set that changes at its origin would change results in silence, so the digest is written down at the first fetch, and
compared before each later use, before any parser sees the file, and after each further fetch.
"""

import gzip
import hashlib
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import msgspec

from pipeline.errors import DataError
from serving.errors import first_line
from serving.files import write_atomic

DOWNLOADS = Path("data/downloads")
_UNREADABLE = "of a damaged file"


@contextmanager
def fetching(name: str, *, key: str) -> Iterator[list[str]]:
    """Check what is kept, then let scikit-learn fetch the rest; collects what it warns of, as lines.

    Raises DataError where the network fails; `key` names the config key that asked for the set.
    """
    _check_kept(name)
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield lines
        except OSError as error:
            if error.errno is not None and not isinstance(error, URLError | TimeoutError | ConnectionError):
                raise  # a full disk, say
            raise DataError(
                f"{key}: {name} could not be fetched ({first_line(error)}), and {DOWNLOADS} has no copy of it; connect this "
                "machine to the network once, or use another source"
            ) from error
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            line = " ".join(str(warning.message).split())
            lines.extend([line] if line not in lines else [])
        elif not issubclass(warning.category, RuntimeWarning):  # those tell that it tries again
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _check_kept(name: str) -> None:
    """Compare what is kept of a set with its digests; a file that is not there will be fetched. Raises DataError."""
    changed = [
        _changed(name, path, recorded, found)
        for path, recorded in _recorded(name).items()
        if (DOWNLOADS / path).is_file() and (found := _digest(DOWNLOADS / path)) != recorded
    ]
    if changed:
        raise DataError(*changed)


def pin(name: str, files: Sequence[str]) -> None:
    """Write the digests of a set's files down, or compare them with those of the first fetch. Raises DataError.

    files: paths below DOWNLOADS.
    """
    found = {path: _digest(DOWNLOADS / path) for path in files}
    recorded = _recorded(name)
    if not recorded:
        write_atomic(_pinned(name), msgspec.json.format(msgspec.json.encode(found), indent=2))
    elif set(recorded) != set(found):
        raise DataError(
            f"data: {name} is now another data set: it was fetched first as {', '.join(sorted(recorded))}, and now as "
            f"{', '.join(sorted(found))}; name its version, or delete {_pinned(name)} to accept the new one"
        )
    else:
        _check_kept(name)


def _recorded(name: str) -> dict[str, str]:
    """Return path -> digest as first fetched; nothing before the first fetch."""
    path = _pinned(name)
    if not path.is_file():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}: not readable ({error}); delete it to accept what is kept of {name} as it is") from error


def _pinned(name: str) -> Path:
    return DOWNLOADS / f"{name}.sha256.json"


def _digest(path: Path) -> str:
    """Return the sha256 of a file's content: the same whenever and however it was compressed by gzip."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return _UNREADABLE


def _changed(name: str, path: str, recorded: str, found: str) -> str:
    return (
        f"data: {DOWNLOADS / path} is not what was fetched first: its sha256 was {recorded}, and is {found}; delete the "
        f"file to fetch it again, or delete {_pinned(name)} to accept it"
    )
