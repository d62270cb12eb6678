"""What `python -m serving` does: verify the bundle, take the port, and keep workers at it until a signal ends them."""

import argparse
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from serving.bundle import Bundle
from serving.control import Control
from serving.errors import ServingError
from serving.options import check_keys, parse, settings_of, traced
from serving.planning import refuse_oversubscription, usable_cpus
from serving.settings import Settings
from serving.shared_folder import shared_folder
from serving.supervisor import Supervisor, tell_when_ready

_CONNECTIONS = 4096  # at a time, for each worker; idle and slow ones cost some kB each
_HEADERS = 65_536  # bytes of a request's headers; more get 431
_LINE = "%(asctime)s %(levelname)s %(message)s"


def main(arguments: list[str] | None = None) -> int:
    """Verify the bundle, then serve it until SIGINT or SIGTERM; exit code 2 when the bundle or an option is refused."""
    options = parse(arguments)
    try:
        # Digests and description only. The model itself is loaded in the worker: loading before the fork hangs.
        bundle = Bundle(options.bundle)
        for beside in (options.canary, options.shadow):
            if beside is not None:
                Bundle(beside)
        if options.log_file is not None and options.log_file != Path("-"):
            options.log_file.open("a").close()  # a worker that cannot open it could only die of that
        check_keys()
        _need_traces()
        cpus = usable_cpus()
        refuse_oversubscription(options.workers, options.threads, cpus)
        address = _usable_address(options.host, options.port)
    except (ServingError, OSError, ValueError) as error:
        print(f"serving: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format=_LINE)
    description = bundle.description
    say = partial(print, flush=True)
    loading = (
        f"loading {description.name} {description.version} (sha256 {bundle.digest[:12]}, {description.artifact.engine}): "
        f"{options.workers} worker(s) x {options.threads} thread(s) on {cpus} CPU(s)"
    )
    host = f"[{options.host}]" if ":" in options.host else options.host
    with shared_folder() as shared:
        settings = settings_of(options, shared)
        control = Control(settings.shared)
        control.begin(bundle)
        tell_when_ready(control, options.workers, (_reachable(address), options.port), say, f"http://{host}:{options.port}")
        _serve(options, settings, control, address, partial(say, loading))
    return 0


def _need_traces() -> None:
    """Import what traces take, once for all workers, where they are asked for; raises ValueError when it is not there."""
    variable = traced()
    if variable is not None:
        try:
            importlib.import_module("serving.telemetry.traces")
        except ImportError as error:
            raise ValueError(
                f"{variable} asks for traces, whose packages are not installed ({error}); "
                "install slipway[otel], or set OTEL_SDK_DISABLED=true"
            ) from error


def _reachable(address: str) -> str:
    """Return an address at which this machine reaches what is bound to `address`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104  # looked up, not bound


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


def _serve(
    options: argparse.Namespace, settings: Settings, control: Control, address: str, greet: Callable[[], object]
) -> None:
    server = Supervisor(
        control,
        options.bundle,
        grace_s=options.grace,
        watch_s=options.watch,
        address=address,
        port=options.port,
        interface=Interfaces.RSGI,
        loop=Loops.asyncio,  # whatever others are installed, a worker has the one that is tested
        http=HTTPModes.http1,  # what its clients speak; less to attack
        workers=options.workers,
        backlog=_CONNECTIONS,
        backpressure=_CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=round(1000 * max(1.0, options.idle)), max_buffer_size=_HEADERS),
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=max(1, round(options.drain)),
        log_level=LogLevels.error,
    )
    server.on_startup(greet)  # by now signals are handled
    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, {signal.SIGTERM}),
        after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, {signal.SIGTERM}),
        after_in_child=_leave_signals_to_the_parent,
    )
    server.serve(target_loader=partial(_load, options.bundle, settings, os.getpid()), wrap_loader=False)


def _leave_signals_to_the_parent() -> None:
    """Let a new worker end by its parent's SIGTERM alone, from its first moment on; runs right after the fork.

    The inherited handler would swallow SIGTERM while the model loads. Ctrl-C reaches parent and workers at once, and a
    second signal in the handler of the first can lock up a worker of granian 2.8.7. SIGHUP is the parent's, too.
    """
    os.setpgid(0, 0)  # what is sent to the group of the parent, as Ctrl-C is, must not reach the workers before its orders do
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _interrupt_nobody() -> None:
    """Let a thread of this process that wakes wait for its turn, instead of ending another one's; call it before they start.

    Where they share a processor, as in a container of one CPU, the network thread hands over all that has arrived then, and
    answers leave together, instead of one switch between threads for each. A policy that the service was started with stays.
    """
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with suppress(OSError):  # a sandbox that does not know it: as fast as any other service there
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _load(pointer: Path, settings: Settings, parent: int) -> Any:  # a Gate, of which granian takes __rsgi__
    """Build the application inside a worker process: of the bundle that all workers serve by now."""
    from serving.app import create_app
    from serving.gate import Gate

    _interrupt_nobody()
    logging.basicConfig(level=logging.INFO, format=_LINE)
    order = Control(settings.shared).order()
    return Gate(create_app(Bundle(Path(order.served)), settings, pointer=pointer, order=order), parent=parent)
