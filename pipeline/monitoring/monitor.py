"""What a monitor is: something that looks at a training, tells the tracker, and leaves the training as it was."""

from pipeline.training.state import FitState


class Monitor:
    """Base of all monitors; each moment does nothing unless overridden.

    name: as in the journal's `cost/<name>`. every: epochs between two looks; the first epoch's always happens. gives_way: looks
    less often when monitors cost too much, as pictures do; a curve of numbers needs all of its points.
    """

    name: str
    every = 1
    gives_way = False

    def at_start(self, state: FitState) -> None:
        """Look once, before the first step."""

    def before_validation(self, state: FitState) -> None:
        """After the last step of an epoch at which it will look."""

    def look(self, state: FitState) -> None:
        """Look at the epoch that ended."""

    def at_end(self, state: FitState) -> None:
        """Look once, after the last epoch."""

    def coarser(self) -> str | None:
        """Look at less, since it costs too much; return what is looked at from now on, such as `40 steps`, if that changed."""
        return None

    def close(self) -> None:
        """Remove everything from the network, however training ended."""
