"""The seven moments of training at which other code may look or act; each does nothing unless overridden.

The vocabulary is skorch's. A hook reads the state, and may set `state.stop` to end training after the epoch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.training.state import FitState


class Hook:
    """Base of all hooks."""

    def on_fit_start(self, state: "FitState") -> None:
        """Before the first epoch."""

    def on_epoch_start(self, state: "FitState") -> None:
        """Before the first batch of an epoch."""

    def on_batch_start(self, state: "FitState") -> None:
        """Before the forward pass of a batch."""

    def on_gradients(self, state: "FitState") -> None:
        """After the backward pass and clipping, before the weights change."""

    def on_batch_end(self, state: "FitState") -> None:
        """After the weights changed."""

    def on_epoch_end(self, state: "FitState") -> None:
        """After validation; `state.history[-1]` is complete."""

    def on_fit_end(self, state: "FitState") -> None:
        """After the last epoch, also when a hook stopped training."""


MOMENTS = tuple(name for name in vars(Hook) if name.startswith("on_"))
