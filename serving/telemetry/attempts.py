"""Parts of the telemetry, of which none may stop the thread that counts.

attempt = Attempts(state)
attempt("log", write)           # whatever `write` raises is counted, and logged once
"""

import logging
from collections.abc import Callable

from serving.telemetry.state import State

_log = logging.getLogger("slipway.serving")


class Attempts:
    """Does parts; where one fails, as on a full disk, the service goes on."""

    def __init__(self, state: State) -> None:
        """state: where failures are counted."""
        self._state = state
        self._known: set[str] = set()  # parts whose failure was logged

    def __call__(self, part: str, work: Callable[[], None]) -> None:
        """Do a part; where it fails, that is counted, and the first of its kind is logged."""
        try:
            work()
        except Exception as error:
            self._state.count("slipway_telemetry_errors_total", (("part", part),), 1)
            if part not in self._known:
                self._known.add(part)
                _log.exception("telemetry: %s failed, which is counted from now on and not logged again", part, exc_info=error)
