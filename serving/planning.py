"""How many processes, and how many threads in each: within the CPUs that the container really has.

ONNX Runtime and torch size their pools from the host, and a container's limit is a quota that they do not see: too many threads
then take turns, and the kernel stops all of them at once for the rest of each period.
"""

import os
from math import floor
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cpus(root: Path = _CGROUP) -> int:
    """Return the CPUs that this process may use: those that it may run on, and no more than its cgroup's quota, at least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root)
    return cpus if quota is None else max(1, min(cpus, floor(quota)))


def refuse_oversubscription(workers: int, threads: int, cpus: int) -> None:
    """Raise ValueError when workers x threads is more than there are CPUs."""
    if workers * threads > cpus:
        raise ValueError(
            f"--workers {workers} x --threads {threads} = {workers * threads} threads that compute, for {cpus} CPU(s): they "
            "would take turns, and answer later; choose fewer of either"
        )


def _quota(root: Path) -> float | None:
    """Return CPUs by the cgroup's quota (version 2, then 1), or None where there is no limit."""
    try:
        limit, period = (root / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass  # not version 2
    try:
        microseconds = int((root / "cpu/cpu.cfs_quota_us").read_text())
        return None if microseconds <= 0 else microseconds / int((root / "cpu/cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
