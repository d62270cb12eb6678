"""The page as a part of the service: its files and headers, keys, readiness, live numbers."""

import gzip
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from serving.app import create_app
from serving.bundle import Bundle
from serving.page import add_page
from serving.schema import Feature, Schema
from serving.settings import Settings
from tests.serving.browser import Browser
from tests.serving.conftest import MESSY
from tests.serving.page.conftest import Address, served
from tests.serving.page.people import answer_of, command, opened

FEATURE = Feature("x", 0.0, 1.0)
SCHEMA = Schema(task="regression", kind="table", shape=(1,), target="y", minimum=0.0, maximum=1.0, features=(FEATURE,))


def test_a_model_that_is_not_ready_is_named_with_its_reason_until_it_is(browser: Browser) -> None:
    ready = threading.Event()
    app = Flask("late", static_folder=None)
    add_page(app, lambda: None, list)
    card: dict[str, Any] = {
        "model": {"name": "late", "version": "1", "digest": "d" * 64},
        "artifact": {"runtime": "onnxruntime", "precision": "fp32"},
    }
    card |= {
        "created": "2026-11-20",
        "lineage": {"run": "r"},
        "metrics": {},
        "parity": {},
        "schema": msgspec.to_builtins(SCHEMA),
    }
    app.add_url_rule("/info", "info", lambda: card | {"ready": ready.is_set()})
    late = {"status": "not ready", "reason": "golden request 3 differs"}
    app.add_url_rule("/readyz", "readyz", lambda: ({}, 200) if ready.is_set() else (late, 503))
    with served(app) as url:
        page = browser.page()
        page.open(url)
        page.wait("document.querySelector('#trouble').innerText.includes('golden request 3 differs')")
        ready.set()
        page.wait("document.querySelector('#trouble').hidden && document.querySelector('#state-text').innerText === 'ready'")


def test_a_key_is_asked_for_sent_and_never_shown_or_kept(browser: Browser, address: Address, table_bundle: Path) -> None:
    app = create_app(Bundle(table_bundle), Settings(keys=(b"sesame",)))
    assert app.test_client().get("/example").status_code == 401, "rows of the training data are not for everybody"
    with served(app) as url:
        page = browser.page()
        page.open(url)
        for key in ("wrong", "sesame"):
            page.wait("!document.querySelector('#key-form').hidden")
            page.type("#key", key)
            page.press("Enter")
        page.wait("document.querySelector('#state-text').innerText === 'ready'")
        page.click("#predict")
        answer_of(page)
        assert "$SLIPWAY_KEY" in command(page, "curl")
        assert "sesame" not in page.evaluate("document.documentElement.outerHTML")
        assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0


def test_live_numbers_are_polled_only_while_the_page_is_seen(browser: Browser, address: Address) -> None:
    page = opened(browser, address(MESSY))
    page.wait("!document.querySelector('#live').hidden")

    def polls_within(seconds: float, *, hidden: bool) -> int:
        before = page.requests.count(page.url + "stats")
        seen = f"Object.defineProperty(document, 'hidden', {{ value: {json.dumps(hidden)}, configurable: true }})"
        page.evaluate(f"{seen}; document.dispatchEvent(new Event('visibilitychange'))")
        time.sleep(seconds)
        page.evaluate("1")  # takes in what the browser has told
        return page.requests.count(page.url + "stats") - before

    assert polls_within(2.2, hidden=True) == 0
    assert polls_within(0.3, hidden=False) == 1


def test_every_file_has_the_headers_that_keep_a_page_to_itself(client: FlaskClient) -> None:
    for path in ("/", *linked(client)):
        reply = client.get(path)
        assert reply.status_code == 200
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] == "no-referrer"


def test_the_page_holds_no_script_or_style_of_its_own(client: FlaskClient) -> None:
    html = client.get("/").text
    assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|https?://", html) == []


def test_what_is_unchanged_is_not_sent_again_and_what_is_sent_is_squeezed(client: FlaskClient) -> None:
    whole = client.get("/static/page.css")
    small = client.get("/static/page.css", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(small.data) == whole.data
    assert len(small.data) < len(whole.data) / 2
    for headers, first in (({}, whole), ({"Accept-Encoding": "gzip"}, small)):
        again = client.get("/static/page.css", headers={"If-None-Match": first.headers["ETag"], **headers})
        assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "../page.py", "..%2fpage.py", "%2e%2e/page.py", ""])
def test_nothing_but_the_pages_own_files_can_be_had(client: FlaskClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize("kind", ["table", "image"])
def test_the_page_stays_below_60_kb_even_unsqueezed(kind: str, request: pytest.FixtureRequest) -> None:
    client = create_app(Bundle(request.getfixturevalue(f"{kind}_bundle"))).test_client()
    sizes = {path: len(client.get(path).data) for path in ("/", *linked(client))}
    assert len(sizes) >= 9
    assert sum(sizes.values()) < 60 * 1024, sizes


def test_examples_are_cells_as_people_write_them_and_pictures_in_base64() -> None:
    app = Flask("examples", static_folder=None)
    large = [0.5] * 1_000_000
    add_page(app, lambda: None, lambda: [[1, None, "Zürich"], b"\x89PNG", large, large])
    assert app.test_client().get("/example").json == {"rows": [[1, None, "Zürich"]], "pictures": ["iVBORw=="]}


def linked(client: FlaskClient) -> list[str]:
    """Return the paths of all files that the page names."""
    return sorted({f"/{path}" for path in re.findall(r"(?:src|href)=\"(static/[^\"]+)\"", client.get("/").text)})
