"""serve: Exported or Selected -> the running service, in place of this process."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.artifacts import Exported, HasBundle, Selected
from pipeline.config import Config
from pipeline.config.sections import ServeConfig
from pipeline.reporting.try_it import try_it
from pipeline.stages import Outcome
from serving.files import write_atomic

_EVERY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104  # compared, not bound
_SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}


def run(config: Config, exported: Exported, selected: Selected | None, *, say: Callable[[str], object]) -> Outcome:
    """Replace this process by the service, so that signals reach it directly; returns only when that fails.

    say: takes a line; it is told a request to copy, of a row that the model was validated on.
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
    rows = sorted(golden.inputs, key=lambda row: row.count(None))[:1] if bundle.description.schema.features else golden.inputs
    host = "localhost" if section.host in _EVERY_ADDRESS else section.host
    url = f"http://{host}:{section.port}/predict"
    return try_it(bundle.description.schema, rows, url=url, picture=picture, folder=folder)[:1]
