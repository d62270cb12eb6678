"""serve: Exported or Selected -> the running service, in place of this process."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artifacts import Exported, HasBundle, Selected
from pipeline.config import Config
from pipeline.config.sections import ServeConfig
from pipeline.reporting.try_it import try_it
from pipeline.stages import Outcome
from serving.columns import UNSEEN, encode, is_missing
from serving.files import write_atomic
from serving.options import KEYS
from serving.schema import Feature, Schema

_EVERY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104  # compared, not bound
_SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}


def run(config: Config, exported: Exported, selected: Selected | None, *, say: Callable[[str], object]) -> Outcome:
    """Replace this process by the service, so that signals reach it directly; returns only when that fails.

    say: takes a line; it is told a request to copy, of values that the model was validated on.
    """
    section, served = config.serve, selected or exported
    for line in _requests(section, served):
        say(f"try: {line}")
    options = {
        "--bundle": served.bundle,
        "--host": section.host,
        "--port": section.port,
        "--workers": section.workers,
        "--threads": section.threads,
        "--batch-rows": section.batch_rows,
        "--max-body-mb": section.max_body_mb,
        "--wait": section.wait_s,
        "--deadline": section.deadline_s,
        "--grace": section.grace_s,
    } | ({"--log-file": section.log_file} if section.log_file else {})
    words = [str(word) for option in options.items() for word in option] + ["--strict"] * section.strict
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "serving", *words])


def _requests(section: ServeConfig, served: HasBundle) -> list[str]:
    """Return commands for a shell; what is too long for one is written beside the stages of the run."""
    bundle, folder = served.open_bundle(), served.folder.parent
    golden = bundle.golden()
    picture: Path | None = None
    if golden.pictures:
        first = golden.pictures[0]
        suffix = next((suffix for magic, suffix in _SUFFIXES.items() if first.startswith(magic)), ".picture")
        picture = folder / f"try-it{suffix}"
        write_atomic(picture, first)
    schema = bundle.description.schema
    rows = [_whole(schema, golden.inputs)] if schema.features and golden.inputs else golden.inputs
    host = "localhost" if section.host in _EVERY_ADDRESS else section.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{section.port}/predict"
    lines = try_it(schema, rows, url=url, picture=picture, folder=folder)[:1]
    # Of the environment that the service has, too; the key itself is not for the terminal.
    key = f' -H "Authorization: Bearer ${{{KEYS}%%,*}}"' if os.environ.get(KEYS) else ""
    return [line + key for line in lines]


def _whole(schema: Schema, rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the row that lacks least, and in place of what it lacks, or what training never saw, cells of the other rows.

    So each column is shown with a value, and --strict takes them all, as far as there are such cells.
    """
    first = min(rows, key=lambda row: sum(map(is_missing, row)))
    return [
        next((cell for cell in (first[index], *(row[index] for row in rows)) if _usual(feature, cell)), first[index])
        for index, feature in enumerate(schema.features)
    ]


def _usual(feature: Feature, cell: Any) -> bool:
    """Return whether a cell has a value within those of the train rows."""
    if is_missing(cell):
        return False
    if feature.kind == "category":
        return bool(encode(feature, [cell])[0, 0] != UNSEEN)
    low, high = np.float32(feature.minimum), np.float32(feature.maximum)
    return bool(low <= encode(feature, [cell])[0, 0] <= high)
