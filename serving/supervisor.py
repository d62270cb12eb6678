"""The parent of the workers: it answers signals, and computes nothing.

SIGTERM: say not ready, go on answering for the grace time while the balancer looks away, then let the workers end what they
have. SIGINT ends at once. SIGHUP: have every worker swap to the bundle that the pointer names now.
"""

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from granian.server.mp import MPServer

from serving.admin import swapped
from serving.bundle import DESCRIPTION
from serving.control import Control
from serving.errors import ServingError

_MOST_CRASHES = 3
_LOOK_S = 0.02
_log = logging.getLogger("slipway.serving")


class Supervisor(MPServer):
    """Granian's server with another way to stop and to reload."""

    def __init__(self, control: Control, pointer: Path, *, grace_s: float, watch_s: float, **options: Any) -> None:
        """pointer: the bundle's folder, or a link to it. watch_s: how often it is looked at for a change; 0: never."""
        super().__init__("slipway", **options)
        self._control, self._pointer = control, pointer
        self._grace_s = grace_s
        self._leaving = False
        self._crashes = 0  # of workers that never got to work
        if watch_s:
            threading.Thread(target=self._watch, args=(watch_s,), daemon=True).start()

    def signal_handler_interrupt(self, *arguments: Any, **_: Any) -> None:
        """Stop: at once on SIGINT and on a second signal, after the grace time on SIGTERM."""
        if self._leaving or arguments[0] != signal.SIGTERM or not self._grace_s:
            super().signal_handler_interrupt()  # type: ignore[no-untyped-call]
            return
        self._leaving = True
        threading.Thread(target=self._leave, daemon=True).start()

    def signal_handler_reload(self, *_: Any, **__: Any) -> None:
        """Swap; on a thread of its own, since every worker loads and proves the bundle first."""
        threading.Thread(target=self._swap, daemon=True).start()

    def _respawn_workers(self, workers: list[int], *arguments: Any, **options: Any) -> None:
        """Replace workers. Granian ends the service where one dies twice within seconds; here, only where none gets to work."""
        self._crashes += sum(not self._control.reported(self.wrks[index].inner.pid) for index in workers)
        super()._respawn_workers(workers, *arguments, **options)
        if self._crashes < _MOST_CRASHES:
            self.respawned_wrks.clear()

    def _leave(self) -> None:
        try:
            self._control.drain()
        except OSError as error:  # somebody has cleaned the folder away
            _log.error("the workers could not be told that the service is about to stop: %s", error)
        time.sleep(self._grace_s)
        super().signal_handler_interrupt()  # type: ignore[no-untyped-call]

    def _swap(self) -> None:
        with suppress(ServingError, OSError):  # it is in the log
            swapped(self._control, partial(self._control.order_swap, self._pointer))

    def _watch(self, every_s: float) -> None:
        before = _stamp(self._pointer)
        while not self._leaving:
            time.sleep(every_s)
            now = _stamp(self._pointer)
            if now not in {before, None}:
                before = now
                self._swap()


def _stamp(pointer: Path) -> tuple[str, int, int] | None:
    """Return what changes when the pointer, or the bundle behind it, does; None while there is none, as in a copy half done."""
    try:
        folder = pointer.resolve(strict=True)
        found = (folder / DESCRIPTION).stat()  # written last, so the rest is there
    except OSError:
        return None
    return str(folder), found.st_mtime_ns, found.st_ino


def tell_when_ready(control: Control, workers: int, address: tuple[str, int], say: Callable[[str], object], url: str) -> None:
    """Say where the service answers once it does, or why it is not ready; on a thread that ends with the process."""

    def wait() -> None:
        while len(reports := control.reports()) < workers or not _accepts(address):
            time.sleep(_LOOK_S)
        reason = next((report.unready for report in reports if report.unready), None)
        say(f"serving on {url}" + (f", NOT READY: {reason}" if reason else "; Ctrl-C stops"))

    threading.Thread(target=wait, name="greeting", daemon=True).start()


def _accepts(address: tuple[str, int]) -> bool:
    with suppress(OSError), socket.create_connection(address, timeout=1):
        return True
    return False
