"""Where requests go that nobody traces; `serving.telemetry.traces`, whose packages are an extra, does what is not done here."""

from collections.abc import Callable, Collection, Mapping

from serving.telemetry.entry import Entry

Count = Callable[[str, dict[str, str], float], None]  # `Ledger.count`
Names = Mapping[str, tuple[str, str]]  # name and version of a model by its digest


class Untraced:
    """Does nothing."""

    def start(self, count: Count) -> None:
        """Begin to send, after the fork. count: adds to a counter, on any thread."""

    def write(self, entries: Collection[Entry], names: Names) -> None:
        """Take requests whose replies have left."""

    def close(self) -> None:
        """Send what is left."""
