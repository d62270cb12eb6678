"""A real service in a process of its own, and clients of its port."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

# Seconds: a hang must fail the test and not the suite; what is promised is measured by the tests themselves.
LIMIT_S = 30
# Stopping an idle service takes a tenth of a second, killing its workers by force eight.
PROMPTLY_S = 5


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: http.client.HTTPMessage


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Running:
    """A service process, and a client of its port."""

    def __init__(self, bundle: Path, *options: str, port: int | None = None, **variables: str) -> None:
        self.port = port or free_port()
        # A session of its own, so that a signal can go to the whole group, as Ctrl-C in a terminal does.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "serving", "--bundle", str(bundle), "--port", str(self.port), "--grace", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, **variables},
        )

    def request(self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, **headers: str) -> Answer:
        """Headers as keywords: `x_api_key="…"`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return Answer(response.status, response.read(), response.headers)

    def metrics(self) -> list[str]:
        return self.request("GET", "/metrics").body.decode().splitlines()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(ConnectionError):
                if self.request("GET", "/readyz").status == 200:
                    return
            time.sleep(0.01)
        pytest.fail(f"the service did not become ready: {self.end()}")

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        return [int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]

    def wait_for_all_workers(self) -> list[str]:
        """Wait until each of them answers, and return what was printed until then: the last line says so."""
        assert self.process.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("serving on "):
            assert self.process.poll() is None
            lines.append(self.process.stdout.readline().rstrip())
        return lines

    def stop(self, number: signal.Signals, *, group: bool = False) -> tuple[int, str, float]:
        """Send a signal; return the exit code, the output and the seconds that the end took."""
        started = time.monotonic()
        (os.killpg if group else os.kill)(self.process.pid, number)
        output, _ = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, output, time.monotonic() - started

    def end(self) -> str:
        """Stop the service if it still runs, then kill what is left of its group; return the rest of the output."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PROMPTLY_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.communicate()[0] if self.process.stdout and not self.process.stdout.closed else ""


@contextlib.contextmanager
def running(bundle: Path, *options: str, port: int | None = None, **variables: str) -> Iterator[Running]:
    """Start a service that stops without a grace time, unless the options say otherwise; variables: of its environment."""
    service = Running(bundle, *options, port=port, **variables)
    try:
        yield service
    finally:
        service.end()
