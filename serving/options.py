"""The command line of `python -m serving`."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from serving.facts import Limits
from serving.settings import Settings

KEYS, ADMIN_KEY = "SLIPWAY_API_KEYS", "SLIPWAY_ADMIN_KEY"  # keys are not options: every user of a machine sees those
_VERTEX = "AIP_HTTP_PORT"  # where Vertex AI will ask, as it tells its containers
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")  # the first one that is set holds
_PROTOCOLS, _OTLP = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf"
_DEFAULT = Settings()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options; ends the process with exit code 2 and a line that says why when one is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        usage="python -m serving --bundle DIR [options]; --help lists them",
        description="Serve a Slipway bundle over HTTP.",
        epilog=f"Keys come from the environment: {KEYS} (of clients, separated by commas) and {ADMIN_KEY} (opens /admin). "
        f"So do traces: {_ENDPOINTS[1]} is the collector that they go to.",
    )
    add = parser.add_argument
    add("command", nargs="?", choices=["serve"], help=argparse.SUPPRESS)  # the word that SageMaker starts a container with
    add("--bundle", type=Path, required=True, help="the bundle's folder, or a link to it, such as runs/latest/export/bundle")
    add("--host", default="127.0.0.1", help="address to bind; 0.0.0.0 for all (default: %(default)s)")
    add("--port", type=_between(1, 65535), default=os.environ.get(_VERTEX, "8080"), help="port to bind (default: %(default)s)")
    add("--workers", type=_between(1, 256), default=1, help="processes (default: %(default)s)")
    add("--threads", type=_between(1, 1024), default=1, help="threads inside one call of the model (default: %(default)s)")
    add(
        "--batch-rows",
        type=_between(0, 4096),
        default=0,
        help="rows computed together; 0: what pays, measured at start; 1: none",
    )
    add("--max-body-mb", type=_between(1, 4096), default=16, help="larger requests get 413, in MiB (default: %(default)s)")
    add("--wait", type=seconds, default=_DEFAULT.wait_s, help="seconds; who would wait longer gets 503 (default: %(default)s)")
    add("--deadline", type=seconds, default=_DEFAULT.deadline_s, help="seconds for a request in all (default: %(default)s)")
    add("--read", type=seconds, default=_DEFAULT.read_s, help="seconds for a client to send a request (default: %(default)s)")
    # Longer than the 60 s after which nginx and balancers close a connection: who closes last meets one that is closed already.
    add("--idle", type=seconds, default=75.0, help="seconds for a connection without a request (default: %(default)s)")
    add("--in-flight", type=_between(1, 65536), default=_DEFAULT.in_flight, help="requests at a time (default: %(default)s)")
    add("--grace", type=seconds, default=2.0, help="seconds from SIGTERM, unready but answering (default: %(default)s)")
    add("--drain", type=seconds, default=6.0, help="seconds after that for what is under way (default: %(default)s)")
    add("--watch", type=seconds, default=0.0, help="seconds between looks for another bundle to swap to; 0: never")
    add("--canary", type=Path, help="a bundle that answers some of the requests")
    add("--percent", type=percent, default=_DEFAULT.percent, help="how many, for --canary (default: %(default)s)")
    add("--shadow", type=Path, help="a bundle that is asked, too, and compared, and never heard")
    add("--strict", action="store_true", help="refuse values outside the trained range and unseen categories")
    add("--log-file", type=Path, help="write a JSON line for each request; - for standard error")
    add("--log-inputs", action="store_true", help="with rows and answers in it")
    add("--cors", action="append", default=[], metavar="ORIGIN", help="a web origin whose pages may ask; * for all; repeatable")
    return parser.parse_args(arguments)


def settings_of(options: argparse.Namespace, shared: Path) -> Settings:
    """Return the settings of each worker."""
    admin = os.environ.get(ADMIN_KEY, "").strip()
    return Settings(
        limits=Limits(body_bytes=options.max_body_mb * 2**20, strict=options.strict),
        threads=options.threads,
        batch_rows=options.batch_rows,
        wait_s=options.wait,
        deadline_s=options.deadline,
        read_s=options.read,
        in_flight=options.in_flight,
        keys=tuple(key.strip().encode() for key in os.environ.get(KEYS, "").split(",") if key.strip()),
        admin_key=admin.encode() or None,
        origins=tuple(options.cors),
        shared=shared,
        log_file=options.log_file,
        log_inputs=options.log_inputs,
        canary=options.canary,
        percent=options.percent,
        shadow=options.shadow,
        traced=traced() is not None,
    )


def traced() -> str | None:
    """Return the variable that asks for traces, None where none does; raises ValueError for what is not spoken here."""
    name = next((name for name in _ENDPOINTS if _variable(name)), None)
    exporters = {one.strip() for one in _variable("OTEL_TRACES_EXPORTER").lower().split(",")}
    if name is None or _variable("OTEL_SDK_DISABLED").lower() == "true" or exporters.isdisjoint({"", "otlp"}):
        return None
    if not _variable(name).lower().startswith(("http://", "https://")):
        raise ValueError(f"{name} must begin with http:// or https://, got {_variable(name)[:100]!r}")
    protocol = next((name for name in _PROTOCOLS if _variable(name)), None)
    if protocol is not None and _variable(protocol) != _OTLP:
        raise ValueError(
            f"{protocol} is {_variable(protocol)[:100]!r}, but traces are sent by {_OTLP} alone; set {_PROTOCOLS[0]}={_OTLP}, "
            "and an endpoint that takes it, port 4318 of most collectors"
        )
    return name


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must lie between {low} and {high}, got {value}")
        return value

    return number


def check_keys() -> None:
    """Raise ValueError for a key that no header can bring; its value is not told."""
    for name in (KEYS, ADMIN_KEY):
        if not os.environ.get(name, "").isascii():
            raise ValueError(
                f"{name} has a key with other characters than ASCII, which HTTP headers do not carry; choose another key"
            )


def seconds(text: str) -> float:
    """Read an option in seconds; argparse names this function when it is no number."""
    value = float(text)
    if not 0 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 86400 seconds, got {text}")
    return value


def percent(text: str) -> float:
    """Read an option in percent, as above."""
    value = float(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 100, got {text}")
    return value
