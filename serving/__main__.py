"""Start the service: `python -m serving --bundle DIR [--host H] [--port P] [--workers N]`."""

import argparse
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flask import Flask
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import Server

from serving.bundle import Bundle
from serving.errors import ServingError

# Seconds from SIGTERM until a worker that still does not end is killed; `docker stop` waits for 10.
_PATIENCE_S = 8


def main(arguments: list[str] | None = None) -> int:
    """Verify the bundle, then serve it until SIGINT or SIGTERM; exit code 2 when the bundle or an option is refused."""
    options = _parse(arguments)
    try:
        # Digests and description only. The model itself is loaded in the worker: loading before the fork hangs.
        bundle = Bundle(options.bundle)
        address = _usable_address(options.host, options.port)
    except (ServingError, OSError) as error:
        print(f"serving: {error}", file=sys.stderr)
        return 2
    description = bundle.description
    host = f"[{options.host}]" if ":" in options.host else options.host
    greeting = (
        f"serving {description.name} {description.version} (sha256 {bundle.digest[:12]}, {description.artifact.runtime}) "
        f"on http://{host}:{options.port}  [{options.workers} worker(s), {options.threads} threads each]; Ctrl-C stops"
    )
    with tempfile.TemporaryDirectory(prefix="slipway-metrics-") as shared:
        if options.workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared  # read when prometheus_client is imported, see _load
        _serve(options, address, greeting)
    return 0


def _usable_address(host: str, port: int) -> str:
    """Return the numeric address of `host`; raise OSError when the port cannot be had there.

    Granian takes numbers only, and binds with SO_REUSEPORT: two services on one port would share its requests in silence.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a stopped service's port is free at once
            probe.bind(address)
        return str(address[0])
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port} ({error.strerror}); choose others with --host and --port") from error


def _serve(options: argparse.Namespace, address: str, greeting: str) -> None:
    server = Server(
        "slipway",
        address=address,
        port=options.port,
        interface=Interfaces.WSGI,
        workers=options.workers,
        blocking_threads=options.threads,
        respawn_failed_workers=True,
        workers_kill_timeout=_PATIENCE_S,
        log_level=LogLevels.error,
    )
    server.on_startup(partial(print, greeting, flush=True))  # by now the port is bound and signals are handled
    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, {signal.SIGTERM}),
        after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, {signal.SIGTERM}),
        after_in_child=_leave_signals_to_the_parent,
    )
    load = partial(_load, options.bundle, options.max_body_mb)
    server.serve(target_loader=load, wrap_loader=False)


def _leave_signals_to_the_parent() -> None:
    """Let a new worker end by its parent's SIGTERM alone, from its first moment on; runs right after the fork.

    The inherited handler would swallow SIGTERM while the model loads. Ctrl-C reaches parent and workers at once, and a
    second signal in the handler of the first can lock up a worker of granian 2.8.7.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _load(bundle: Path, max_body_mb: int) -> Flask:
    """Build the application inside a worker process."""
    # Not at the top: what prometheus_client finds in the environment at import decides whether it counts in shared files.
    from serving.app import create_app

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    return create_app(Bundle(bundle), max_body_bytes=max_body_mb * 2**20)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve a Slipway bundle over HTTP.")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle's folder, such as runs/latest/export/bundle")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind; 0.0.0.0 for all (default: %(default)s)")
    parser.add_argument("--port", type=_between(1, 65535), default=8080, help="port to bind (default: %(default)s)")
    parser.add_argument("--workers", type=_between(1, 256), default=1, help="processes (default: %(default)s)")
    parser.add_argument("--threads", type=_between(1, 1024), default=16, help="threads in each process (default: %(default)s)")
    parser.add_argument(
        "--max-body-mb", type=_between(1, 4096), default=16, help="larger requests get 413, in MiB (default: %(default)s)"
    )
    return parser.parse_args(arguments)


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must lie between {low} and {high}, got {value}")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
