"""The folder through which the processes of one service know of each other, and what becomes of those of dead services.

    with shared_folder() as folder: ...

A service that ends removes its folder; one that is killed cannot. So whoever starts next removes what no process holds any
more. Held is a folder by a lock (flock) on a file in it, which the parent takes and its workers inherit. A lock and no pid: the
kernel gives it up with the last of them, however they end; a pid may be another process's by now, and says nothing to a service
in another container with the same folder of temporary files.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "slipway-"
_HELD = "held"
_OTHERS = 0o077  # what a folder made by tempfile allows nobody else


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Make a folder that this process and its forks hold, and remove it in the end; raises OSError where none can be made."""
    remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        made = folder / f".{_HELD}"
        handle = os.open(made, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            made.rename(folder / _HELD)  # locked already when it can be found
            yield folder
        finally:
            os.close(handle)


def remove_abandoned(parent: Path) -> list[Path]:
    """Remove the folders of services whose processes are all gone, and return them.

    Only folders of this user that nobody else may enter, and no links. Whatever goes wrong leaves a folder where it is.
    """
    removed = []
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if _abandoned(folder):
                shutil.rmtree(folder)  # follows no link, not even one that takes the place of what it has seen
                removed.append(folder)
    return removed


def _abandoned(folder: Path) -> bool:
    """Return whether a folder was held and is not held now; raises OSError for what is no folder of a service."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(place)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & _OTHERS:
            return False
        held = os.open(_HELD, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError, an OSError, where it is held
        finally:
            os.close(held)
    finally:
        os.close(place)
    return True
