"""Load from another process: `wrk` posts one body over and over, and says how many answers came, how late, and how many failed.

sample = measure(url, headers, body, connections=32, seconds=2, core=1)

wrk waits for an answer before it sends the next request of a connection, so c connections are c requests in flight at most.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MARK = "FIGURES "
_SCRIPT = """\
local file = io.open({body}, "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
{headers}
done = function(summary, latency, requests)
  local failed = summary.errors
  io.write(string.format(
    '{mark}{{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "status": %d, "socket": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), failed.status,
    failed.connect + failed.read + failed.write + failed.timeout))
end
"""


@dataclass(frozen=True)
class Sample:
    """One window of load. rate: requests a second that were answered with 2xx or 3xx. errors: all the others."""

    rate: float
    p50_ms: float
    p99_ms: float
    errors: int


def need_wrk() -> None:
    """End with how to mend it where a tool is missing."""
    for tool, package in (("wrk", "wrk"), ("taskset", "util-linux")):
        if shutil.which(tool) is None:
            sys.exit(f"bench-serving: `{tool}` is not installed; on Debian and Ubuntu: apt install {package}")


def script(body: Path, headers: Mapping[str, str]) -> str:
    """Return the Lua program that makes wrk post a file; it ends with a line of figures."""
    lines = (f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items())
    return _SCRIPT.format(body=json.dumps(str(body)), headers="\n".join(lines), mark=_MARK)


def parse(output: str) -> Sample:
    """Return what wrk's output says; raise ValueError where the line of figures is missing."""
    line = next((line for line in output.splitlines() if line.startswith(_MARK)), None)
    if line is None:
        raise ValueError(f"wrk printed no figures: {output[:200]!r}")
    figures = json.loads(line.removeprefix(_MARK))
    answered = figures["requests"] - figures["status"]
    errors = figures["status"] + figures["socket"]
    return Sample(answered / (figures["microseconds"] / 1e6), figures["p50"] / 1e3, figures["p99"] / 1e3, errors)


def measure(url: str, headers: Mapping[str, str], body: bytes, *, connections: int, seconds: int, core: int) -> Sample:
    """Post `body` to `url` from `core` for some seconds."""
    with tempfile.TemporaryDirectory() as name:
        sent, program = Path(name, "body"), Path(name, "post.lua")
        sent.write_bytes(body)
        program.write_text(script(sent, headers))
        command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
        done = subprocess.run([*command, "-s", str(program), url], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"wrk: exit {done.returncode}: {(done.stderr or done.stdout)[:200]!r}")
    return parse(done.stdout)
