"""How much memory is left, as the kernel and the container see it: what decides between rows in memory and rows on disk."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_V1 = (("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
_V2 = (("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file"))


def free_memory_bytes(root: Path = Path("/")) -> int:
    """Return how many bytes this process may still take: the least of what the machine and each of its cgroups has left.

    Pages of files count as free, since the kernel gives them up. Where the system does not say what is free (macOS), this is
    the whole memory. root: where /proc and /sys are.
    """
    return max(0, min([_of_machine(root), *_of_cgroups(root)]))


def _of_machine(root: Path) -> int:
    """Return MemAvailable, else the size of the memory."""
    meminfo = root / "proc/meminfo"
    for line in meminfo.read_text().splitlines() if meminfo.is_file() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_cgroups(root: Path) -> Iterator[int]:
    """Yield what each limited cgroup above this process has left, of version 1 and 2 (man 7 cgroups)."""
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        for top, shown in _mounts(root, version=1 if controllers else 2):
            limits, usage, reclaimable = _V1 if controllers else _V2
            group = top
            yield from _left(group, limits, usage, reclaimable)
            for part in _below(path, shown):
                group /= part
                yield from _left(group, limits, usage, reclaimable)


def _mounts(root: Path, *, version: int) -> Iterator[tuple[Path, str]]:
    """Yield (mount point, the cgroup that it shows) of each hierarchy with memory limits (man 5 proc_pid_mountinfo)."""
    for line in (root / "proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" if version == 2 else kind == "cgroup" and "memory" in options.split(","):
            shown, point = before.split(" ")[3:5]
            yield root / point.lstrip("/"), shown


def _below(path: str, shown: str) -> tuple[str, ...]:
    """Return the folders from a mount to this process's cgroup; none, where a container sees its own cgroup as the mount."""
    group = PurePosixPath(path)
    return group.relative_to(shown).parts if group.is_relative_to(shown) and ".." not in group.parts else ()


def _left(group: Path, limits: tuple[str, ...], usage: str, reclaimable: tuple[str, ...]) -> Iterator[int]:
    for name in limits:
        if not (group / name).is_file() or (limit := (group / name).read_text().strip()) == "max":
            continue
        pairs = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        files = sum(int(value) for key, value in pairs if key in reclaimable)
        yield int(limit) - int((group / usage).read_text()) + files
