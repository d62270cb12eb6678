"""A server as a tree of processes on one core: started, paused while others are measured, weighed, stopped."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PATIENCE_S = 10.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A started command with all its descendants."""

    def __init__(self, command: Sequence[str], *, core: int, folder: Path, environment: Mapping[str, str]) -> None:
        """Start `command` on `core` in `folder`; what it prints goes to `folder`/log."""
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "log"
        self.started = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, ready: Callable[[], bool], *, seconds: float) -> float:
        """Ask `ready` until it says so, and return the seconds since the start; raise TimeoutError with the log's end."""
        while not ready():
            if self._process.poll() is not None or time.perf_counter() - self.started > seconds:
                raise TimeoutError(f"not ready after {time.perf_counter() - self.started:.0f} s: {self.last_words()}")
            time.sleep(0.005)
        return time.perf_counter() - self.started

    def last_words(self) -> str:
        """Return the end of what it printed."""
        return " ".join(self._log.read_text(errors="replace").split())[-300:]

    def pids(self) -> list[int]:
        """Return its processes, parents first."""
        return tree(self._process.pid)

    def pause(self) -> None:
        """Take every process off the core."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End every process; those that do not within 10 s are killed."""
        self.resume()
        everybody = self.pids()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in everybody[1:]:
            _send(pid, signal.SIGKILL)

    def resident_mb(self) -> tuple[float, float]:
        """Return MB of the largest process below the first one, if there is any, and of all; shared pages count once there."""
        pids = self.pids()
        return max(_memory(pid, "Rss") for pid in pids[1:] or pids), sum(_memory(pid, "Pss") for pid in pids)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            _send(pid, number)


def tree(root: int) -> list[int]:
    """Return a process and all that descend from it, parents first."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except OSError:
            continue  # it ended meanwhile
        children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(status.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended meanwhile


def _memory(pid: int, kind: str) -> float:
    """Return MB (10^6 bytes) of a process, 0 for one that ended meanwhile."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{kind}:")), 0.0)
