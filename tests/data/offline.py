"""Proof that a test needs no network."""

import errno
import socket
from typing import Any, NoReturn

import pytest


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every attempt to reach the network fail the test: no handler of network errors takes an AssertionError."""

    def refuse(*args: Any, **keys: Any) -> NoReturn:
        raise AssertionError(f"the network was asked for {args}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def unplug(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every attempt to reach the network fail as it does without a cable."""

    def fail(*args: Any, **keys: Any) -> NoReturn:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(socket.socket, "connect", fail)
