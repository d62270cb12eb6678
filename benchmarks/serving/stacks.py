"""What is compared: each stack with the versions that its own environment gets, its command and its wires.

Every stack gets its best case on one core: one worker, access logs off, the model inline where it lets one choose. Only ours
keeps its request log.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving import wires
from benchmarks.serving.processes import free_port
from benchmarks.serving.wires import Wire

ROOT = Path(__file__).resolve().parent.parent.parent
PEERS = ROOT / ".venv" / "peers"
_ORT = "onnxruntime==1.31.1"
_APPS = "benchmarks.serving.apps"


@dataclass(frozen=True)
class Place:
    """Where a stack is started. bundle: with the model's file in it. run: of the pipeline, for the textbook's eager model."""

    python: str
    folder: Path
    run: Path
    bundle: Path
    model: Path
    name: str
    port: int


Command = Callable[[Place], list[str]]


@dataclass(frozen=True)
class Stack:
    """A server. pins: what its environment gets; none: it runs in ours. wires: by kind of body. ready: a path that says so."""

    title: str
    command: Command
    wires: Mapping[str, Wire] = field(default_factory=lambda: {"json": wires.PLAIN})
    pins: tuple[str, ...] = ()
    ready: str | None = None


@functools.cache
def _ours_offers() -> str:
    done = subprocess.run([sys.executable, "-m", "serving", "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"python -m serving --help: exit {done.returncode}: {done.stderr.strip()[-200:]}")
    return done.stdout


def _ours(at: Place) -> list[str]:
    offered = {"--log-file": str(at.folder / "requests.jsonl"), "--grace": "0"}  # nobody watches readiness: it may stop at once
    more = [word for option in offered.items() if option[0] in _ours_offers() for word in option]
    options = ["--bundle", str(at.bundle), "--port", str(at.port), "--workers", "1", "--threads", "1"]
    return [at.python, "-m", "serving", *options, *more]


def _granian(interface: str) -> Command:
    def command(at: Place) -> list[str]:
        options = ["--interface", interface, "--port", str(at.port), "--workers", "1", "--no-ws", "--log-level", "error"]
        threads = ["--blocking-threads", "1"] if interface == "wsgi" else []
        return [at.python, "-m", "granian", *options, *threads, f"{_APPS}.bare:{interface}"]

    return command


def _textbook(at: Place) -> list[str]:
    return [at.python, "-m", f"{_APPS}.textbook", str(at.run / "prepare"), str(at.run / "train"), str(at.port)]


def _fastapi(at: Place) -> list[str]:
    options = ["--port", str(at.port), "--workers", "1", "--loop", "uvloop", "--http", "httptools"]
    return [at.python, "-m", "uvicorn", *options, "--no-access-log", "--log-level", "error", f"{_APPS}.fastapi_app:app"]


def _litserve(at: Place) -> list[str]:
    return [at.python, "-m", f"{_APPS}.litserve_app", str(at.port)]


def _bentoml(at: Place) -> list[str]:
    return [at.python, "-m", "bentoml", "serve", f"{_APPS}.bentoml_app:Digits", "--host", "127.0.0.1", "--port", str(at.port)]


def _mlserver(at: Place) -> list[str]:
    ports = {"http_port": at.port, "grpc_port": free_port(), "metrics_port": free_port()}
    settings = {"host": "127.0.0.1", "debug": False, "parallel_workers": 0, **ports}
    model = {"name": at.name, "implementation": f"{_APPS}.mlserver_app.Onnx", "parameters": {"uri": str(at.model)}}
    (at.folder / "settings.json").write_text(json.dumps(settings))
    (at.folder / "model-settings.json").write_text(json.dumps(model))
    return [str(Path(at.python).parent / "mlserver"), "start", str(at.folder)]


def _mlflow(at: Place) -> list[str]:
    saved = at.folder / "saved"
    made = subprocess.run(
        [at.python, "-m", f"{_APPS}.mlflow_save", str(saved)],
        cwd=at.folder,
        env=environment(at),
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise OSError(f"saving the model: {made.stderr.strip()[-300:]}")
    mlflow = str(Path(at.python).parent / "mlflow")
    return [mlflow, "models", "serve", "-m", str(saved), "-p", str(at.port), "-w", "1", "--env-manager", "local"]


def environment(at: Place) -> dict[str, str]:
    """Return what a stack finds in its environment, beside what is there: the model, one thread, its own programs first."""
    programs = Path(at.python).parent
    return {
        "MODEL": str(at.model),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(at.folder),  # what a server keeps for its user ends with the measurement
        "BENTOML_DO_NOT_TRACK": "true",
        "DO_NOT_TRACK": "1",
    }


_V2 = {"json": wires.v2("digits", binary=False)}
_WITH_RAW = {"json": wires.PLAIN, "binary": wires.RAW}
STACKS = {
    "ours": Stack(
        "**Slipway**, everything on",
        _ours,
        {"json": wires.OURS, "binary": wires.v2("digits", binary=True)},
        ready="/readyz",
    ),
    "wsgi": Stack("bare WSGI callable on granian (the limit)", _granian("wsgi"), _WITH_RAW),
    "rsgi": Stack("bare RSGI callable on granian", _granian("rsgi"), _WITH_RAW),
    "textbook": Stack("textbook: Flask's app.run(), eager torch", _textbook),
    "fastapi": Stack("FastAPI + uvicorn", _fastapi, _WITH_RAW, ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", _ORT)),
    "litserve": Stack("LitServe", _litserve, pins=("litserve==0.2.19", _ORT)),
    "bentoml": Stack("BentoML", _bentoml, {"json": wires.LIST}, ("bentoml==1.4.39", _ORT)),
    "mlserver": Stack("MLServer, v2 JSON", _mlserver, _V2, ("mlserver==1.7.1", _ORT)),
    "mlflow": Stack("mlflow models serve", _mlflow, {"json": wires.MLFLOW}, ("mlflow==3.17.2", "onnx==1.23.2", _ORT)),
}
