"""prepare: a source -> Prepared."""

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS, Prepared
from pipeline.config import Config
from pipeline.data import sources, statistics
from pipeline.data.checks import check_rows
from pipeline.data.splits import split_rows
from pipeline.stages import Outcome
from pipeline.tracking import Tracker
from serving.files import write_atomic


def run(config: Config, *, out: Path, tracker: Tracker) -> Outcome:
    """Split, describe and measure the rows of `data.source`; inputs are stored raw, the model normalizes them."""
    rows = sources.load(config.data.source)
    check_rows(rows)
    section = config.prepare
    chosen = split_rows(
        rows.inputs,
        rows.targets,
        validation_fraction=section.validation_fraction,
        test_fraction=section.test_fraction,
        seed=section.split_seed,
        classification=rows.task == "classification",
    )
    train = rows.inputs[chosen["train"]]
    schema = rows.schema(train)
    target = rows.targets[chosen["train"]].astype(np.float32)
    target_method = section.normalize_target if rows.task == "regression" else "none"
    fitted = {
        "inputs": statistics.fit(train, section.normalize, per_channel=schema.kind == "image"),
        "target": statistics.fit(target, target_method, per_channel=False),
    }
    write_atomic(out / Prepared.SCHEMA, msgspec.json.format(msgspec.json.encode(schema), indent=2))
    write_atomic(out / Prepared.STATISTICS, msgspec.json.encode(fitted))
    for split in SPLITS:
        _write_array(out / f"{split}.inputs.npy", rows.inputs[chosen[split]])
        _write_array(out / f"{split}.targets.npy", rows.targets[chosen[split]])
        _write_array(out / f"{split}.rows.npy", chosen[split])
    counts = {split: len(chosen[split]) for split in SPLITS}
    tracker.event("split", **counts)
    shape = "x".join(map(str, schema.shape))
    summary = f"{config.data.source}: {' + '.join(f'{count} {split}' for split, count in counts.items())} rows of {shape}"
    return Outcome(summary, notes={"rows": counts})


def _write_array(path: Path, array: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)  # row by row, so that it can be streamed
    write_atomic(path, buffer.getvalue())
