"""What an epoch measured, written down."""

from pathlib import Path

import msgspec

from pipeline.tracking import Tracker
from pipeline.training.hooks import Hook
from pipeline.training.state import FitState


class Report(Hook):
    """Writes an epoch's numbers into the history and to the tracker."""

    def __init__(self, history: Path, tracker: Tracker, *, batches: int) -> None:
        """history: file that gets a line an epoch. batches: of an epoch, for the progress shown."""
        self._history, self._tracker, self._batches = history, tracker, batches

    def on_batch_end(self, state: FitState) -> None:
        """Show progress."""
        self._tracker.progress(state.batch, self._batches)

    def on_epoch_end(self, state: FitState) -> None:
        """Write the numbers down."""
        numbers = state.history[-1]
        with self._history.open("ab") as file:
            file.write(msgspec.json.encode(numbers) + b"\n")  # a number that is not finite becomes null
        self._tracker.metrics({name: value for name, value in numbers.items() if name != "epoch"}, step=state.epoch)
