"""Tracking: a stage tells one `Tracker`; the journal is the truth, everything else is a projection of it.

    tracker.metrics({"train/loss": 0.31, "val/loss": 0.35}, step=3)
    tracker.images({"confusion": "plots/confusion-3.png"}, step=3)
    tracker.event("early_stop", epoch=12, reason="patience")

Each call becomes one record: a line of `journal.jsonl` first, then TensorBoard, MLflow, Weights & Biases and the console get
it, too. A projection that fails never stops the work: one loud line, and the journal still holds everything.
"""

from pipeline.tracking.journal import Journal, read_journal
from pipeline.tracking.records import Histogram, PrCurve, Projection, Record
from pipeline.tracking.tracker import Shared, Tracker

__all__ = ["Histogram", "Journal", "PrCurve", "Projection", "Record", "Shared", "Tracker", "read_journal"]
