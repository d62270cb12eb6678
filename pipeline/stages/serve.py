"""serve: Exported -> the running service, in place of this process."""

import os
import sys

from pipeline.artifacts import Exported
from pipeline.config import Config
from pipeline.stages import Outcome


def run(config: Config, exported: Exported) -> Outcome:
    """Replace this process by the service, so that signals reach it directly; returns only when that fails."""
    section = config.serve
    options = {
        "--bundle": exported.bundle,
        "--host": section.host,
        "--port": section.port,
        "--workers": section.workers,
        "--threads": section.threads,
        "--max-body-mb": section.max_body_mb,
    }
    words = [str(word) for option in options.items() for word in option]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "serving", *words])
