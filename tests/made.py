"""Rows that tests make: a `Prepared` folder by hand, and the stages that follow it, without a source."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS, Exported, Model, Prepared
from pipeline.config import Config, load
from pipeline.manifest import Manifest, now, records_of, write_manifest
from pipeline.stages import Outcome, stage_named
from pipeline.tracking import Tracker
from serving.schema import Feature, Schema

LABELS = ("round", "red", "sweet, ripe")
VALUES = ("height", "weight")
QUICK = ("train.epochs=3", "train.threads=1", "train.compile=false", "model.hidden=[16]", "evaluate.resamples=100")


def table(task: str, rows: int = 240, *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[Any], Schema]:
    """Return inputs (rows, 4), targets and the schema of a table whose targets follow from its columns.

    task: "multilabel" has 3 labels, some rows none; "regression" two values of very different size.
    """
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(rows, 4)).astype(np.float32)
    features = tuple(Feature(name, -4.0, 4.0) for name in "abcd")
    schema = Schema(task="multilabel", kind="table", shape=(4,), target="", minimum=-4.0, maximum=4.0, features=features)
    if task == "multilabel":
        scores = inputs @ generator.normal(size=(4, 3)) - np.array([0.0, 0.5, 1.5])
        targets = (scores + generator.normal(0, 0.2, scores.shape) > 0).astype(np.float32)
        return inputs, targets, msgspec.structs.replace(schema, target=", ".join(LABELS), classes=LABELS)
    values = inputs @ generator.normal(size=(4, 2)) + generator.normal(0, 0.1, (rows, 2))
    targets = (values * [0.1, 20.0] + [1.7, 70.0]).astype(np.float32)
    return inputs, targets, msgspec.structs.replace(schema, task="regression", target=", ".join(VALUES), targets=VALUES)


def images(rows: int = 120) -> tuple[NDArray[np.float32], NDArray[np.float32], Schema]:
    """Return images (rows, 6, 6) with a bright upper or left half, both or none, their two labels, and the schema."""
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, (rows, 2)).astype(np.float32)
    inputs = generator.uniform(0, 1, (rows, 6, 6)).astype(np.float32)
    inputs[:, :3] += targets[:, 0, np.newaxis, np.newaxis]
    inputs[:, :, :3] += targets[:, 1, np.newaxis, np.newaxis]
    schema = Schema(
        task="multilabel", kind="image", shape=(6, 6), target="halves", minimum=0.0, maximum=3.0, classes=("upper", "left")
    )
    return inputs, targets, schema


def prepared_of(
    root: Path, inputs: NDArray[np.float32], targets: NDArray[Any], schema: Schema, *, normalize_target: bool = True
) -> Prepared:
    """Write rows as `prepare` does, below `root`: 60 % train, 20 % validation, 20 % test, from the last row to the first."""
    folder = root / "data" / "prepared" / "made"
    folder.mkdir(parents=True)
    order = np.arange(len(inputs))[::-1]
    parts = dict(zip(SPLITS, np.split(order, [int(0.6 * len(order)), int(0.8 * len(order))]), strict=True))
    train, axes = parts["train"], (0,) if schema.kind == "table" else (0, 1, 2)
    target = {"shift": 0.0, "scale": 1.0}
    if schema.task == "regression" and normalize_target:
        target = _fitted(targets[train], (0,))
    statistics = {"inputs": _fitted(inputs[train], axes), "target": target}
    (folder / Prepared.SCHEMA).write_bytes(msgspec.json.encode(schema))
    (folder / Prepared.STATISTICS).write_bytes(msgspec.json.encode(statistics))
    asked = inputs[parts["validation"][:8]].tolist() if schema.kind == "table" else []
    requests = {"rows": list(range(len(asked))), "values": asked}
    (folder / Prepared.REQUESTS).write_bytes(msgspec.json.encode(requests))
    for split, rows in parts.items():
        for name, array in (("inputs", inputs[rows]), ("targets", targets[rows]), ("rows", rows)):
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
            (folder / f"{split}.{name}.npy").write_bytes(buffer.getvalue())
    _complete(folder, "prepare", rows={split: len(rows) for split, rows in parts.items()})
    return Prepared.open(folder)


@dataclass(frozen=True)
class Made:
    """A run on made rows: `run("train")` returns what the stage says, and completes its folder."""

    root: Path
    prepared: Prepared
    words: Sequence[str]
    tracker: Tracker

    @property
    def config(self) -> Config:
        path = self.root / "made.yaml"
        path.write_text("{}")
        return load(path, [*QUICK, *self.words])

    def run(self, stage: str, **options: Any) -> Outcome:
        out = self.root / "run" / stage
        out.mkdir(parents=True, exist_ok=True)
        taken = [] if stage == "train" else [self.model]
        outcome = stage_named(stage).run(self.config, self.prepared, *taken, out=out, tracker=self.tracker, **options)
        _complete(out, stage)
        return outcome

    @property
    def model(self) -> Model:
        return Model.open(self.root / "run" / "train")

    @property
    def exported(self) -> Exported:
        return Exported.open(self.root / "run" / "export")


def _fitted(values: NDArray[np.float32], axes: tuple[int, ...]) -> dict[str, Any]:
    spread = values.std(axis=axes)
    return {"shift": values.mean(axis=axes).tolist(), "scale": np.where(spread > 0, spread, 1.0).tolist()}


def _complete(folder: Path, stage: str, **notes: Any) -> None:
    manifest = Manifest(
        stage=stage,
        takes={},
        makes=records_of(folder),
        config={},
        code="",
        seed=0,
        device="cpu",
        versions={},
        git={},
        created=now(),
        seconds=0.0,
        metrics={},
        notes=notes,
    )
    write_manifest(folder, manifest)
