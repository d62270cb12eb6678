"""Under what conditions numbers were measured: without them, milliseconds say nothing to the next reader."""

import os
import platform
from pathlib import Path
from typing import Any

from pipeline.cores import usable_cores
from pipeline.manifest import now, version_of

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CPU = Path("/proc/cpuinfo")
_PACKAGES = ("torch", "onnxruntime", "numpy")


def conditions() -> dict[str, Any]:
    """Return what this machine is; None stands for what it does not tell."""
    return {
        "cpu": _cpu(),
        "cores": usable_cores(),
        "governor": _GOVERNOR.read_text().strip() if _GOVERNOR.is_file() else None,
        "system": platform.platform(terse=True),
        "versions": {"python": platform.python_version()} | {package: version_of(package) for package in _PACKAGES},
        "started": now(),
        "load_average": load_average(),
    }


def load_average() -> float | None:
    """Return how many processes wanted to run in the last minute, this one among them."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _cpu() -> str:
    lines = _CPU.read_text().splitlines() if _CPU.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
