"""TensorBoard: metrics of a stage as scalars, in an event file below the stage's folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.tracking.journal import Record

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Writes scalars below `folder`, which is made by the first metric."""

    name = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is imported or written yet."""
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def show(self, record: Record) -> None:
        """Write the metrics of one epoch."""
        if record.kind != "metrics" or record.step is None:  # a curve needs steps; other numbers are in MLflow and on disk
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder))
        for name, value in record.values.items():
            self._writer.add_scalar(name, value, record.step)

    def close(self) -> None:
        """Flush and close the event file."""
        if self._writer is not None:
            self._writer.close()
