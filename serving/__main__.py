"""Start the service: `python -m serving --bundle DIR [--host H] [--port P] [--workers N]`."""

import argparse
import logging
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from flask import Flask
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import Server

from serving.app import create_app
from serving.bundle import Bundle
from serving.errors import ServingError
from serving.telemetry import SHARED_FOLDER


def main(arguments: list[str] | None = None) -> int:
    """Verify the bundle, then serve it until SIGINT or SIGTERM; exit code 2 when the bundle or an option is refused."""
    options = _parse(arguments)
    try:
        # Digests and description only. The model itself is loaded in the worker: loading before the fork hangs.
        bundle = Bundle(options.bundle)
    except ServingError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 2
    description = bundle.description
    print(
        f"serving {description.name} {description.version} (sha256 {bundle.digest[:12]}, {description.artifact.runtime}) "
        f"on http://{options.host}:{options.port}  [{options.workers} worker(s), {options.threads} threads each]; Ctrl-C stops",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="slipway-metrics-") as shared:
        if options.workers > 1:
            os.environ[SHARED_FOLDER] = shared
        _serve(options)
    return 0


def _serve(options: argparse.Namespace) -> None:
    server = Server(
        "slipway",
        address=options.host,
        port=options.port,
        interface=Interfaces.WSGI,
        workers=options.workers,
        blocking_threads=options.threads,
        respawn_failed_workers=True,
        log_level=LogLevels.error,
    )
    load = partial(_load, options.bundle, options.max_body_mb)
    server.serve(target_loader=load, wrap_loader=False)


def _load(bundle: Path, max_body_mb: int) -> Flask:
    """Build the application inside a worker process."""
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


def _between(low: int, high: int):  # type: ignore[no-untyped-def]  # argparse wants a callable named for its message
    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must lie between {low} and {high}, got {value}")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
