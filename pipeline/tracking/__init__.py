"""Tracking: a stage tells one `Tracker`; the journal is the truth, everything else is a projection of it.

    tracker.metrics({"train/loss": 0.31, "val/loss": 0.35}, step=3)
    tracker.event("early_stop", epoch=12, reason="patience")

Each call becomes one record: a line of `journal.jsonl` first, then TensorBoard, MLflow and the console get the same record. A
projection that fails never stops the work: one loud line, and the journal still holds everything.
"""

from pipeline.tracking.journal import Journal, Projection, Record, Tracker, read_journal

__all__ = ["Journal", "Projection", "Record", "Tracker", "read_journal"]
