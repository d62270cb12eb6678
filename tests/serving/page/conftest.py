"""A browser and services for the tests of the page."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from typing import Any

import numpy as np
import pytest
from flask import Flask
from werkzeug.serving import make_server

from serving.app import create_app
from serving.bundle import Bundle, Golden
from serving.schema import Schema
from tests.serving.browser import CHROMIUM, Browser
from tests.serving.conftest import MESSY, expected_of, make_bundle

CELLS: list[list[Any]] = [[42, "yes", "Bern", "2019-05-17", 4.5], [30, "no", "3", "1999-01-01", 8.25]]
DIGITS = Schema(
    task="classification", kind="image", shape=(8, 8), target="digit", minimum=0.0, maximum=16.0, classes=("0", "1", "2", "3")
)

Address = Callable[[Schema], str]


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """Serve an application on a free port of the loopback."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs a Chromium, which is not installed: apt install chromium")
    with Browser() as running:
        yield running


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    yield chromium
    chromium.close_pages()


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Addresses of services, one for each schema that is asked for."""
    found: dict[str, str] = {}
    with ExitStack() as running:

        def start(schema: Schema) -> str:
            name = repr(schema)
            if name not in found:
                folder = make_bundle(tmp_path_factory.mktemp("page") / "bundle", schema, golden=golden_for(schema))
                found[name] = running.enter_context(served(create_app(Bundle(folder))))
            return found[name]

        yield start


def drawings() -> Any:
    """(2, 8, 8): a bar and a box on a dark ground, both 6 high and in the middle."""
    rows = np.zeros((2, 8, 8), np.float32)
    rows[0, 1:7, 3:5] = rows[1, 1:7, 2:6] = 16
    return rows


def golden_for(schema: Schema) -> Golden | None:
    """Examples as people have them, where random numbers would be none."""
    if schema == DIGITS:
        return Golden(inputs=drawings().tolist(), outputs=expected_of(DIGITS, drawings()).tolist(), atol=1e-4, rtol=1e-4)
    if schema != MESSY:
        return None
    days = [(date.fromisoformat(cells[3]) - date(1970, 1, 1)).days for cells in CELLS]
    coded = [[42, 1, 1, days[0], 0, 4.5], [30, 0, 3, days[1], 0, 8.25]]
    return Golden(inputs=CELLS, outputs=expected_of(MESSY, np.array(coded, np.float32)).tolist(), atol=1e-2, rtol=1e-4)
