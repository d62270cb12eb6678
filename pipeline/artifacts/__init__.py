"""Typed handles on finished folders: what one stage makes and another takes.

prepared = Prepared.open(folder)              # refuses a folder without a manifest
inputs, targets = prepared.split("train")     # bytes are checked against the manifest before numpy sees them
inputs, targets = prepared.open_split("train")     # the same, memory-mapped: for rows that memory cannot hold
"""

from pipeline.artifacts.artifact import Artifact
from pipeline.artifacts.prepared import SPLITS, Prepared, Split
from pipeline.artifacts.results import (
    Benchmarked,
    Distilled,
    Evaluation,
    Exported,
    Files,
    HasBundle,
    Listed,
    Model,
    Precision,
    Pruned,
    Quantized,
    Selected,
)

__all__ = [
    "SPLITS",
    "Artifact",
    "Benchmarked",
    "Distilled",
    "Evaluation",
    "Exported",
    "Files",
    "HasBundle",
    "Listed",
    "Model",
    "Precision",
    "Prepared",
    "Pruned",
    "Quantized",
    "Selected",
    "Split",
]
