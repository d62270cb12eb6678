"""The printed request is one that a shell understands, and arrives as the row that was meant."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.reporting.try_it import try_it
from serving.schema import Feature, Schema

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
NASTY = ("it's", 'a "quote"', "Zürich 🏔", "$HOME `id` !", "a\\b", "-d", "@x", "%41&b=c", "line\nbreak")


class Received:
    """A server on loopback that keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        kept = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                kept.append((self.path, self.headers["Content-Type"], body))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Stay quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/predict"

    def run(self, line: str, folder: Path | None = None) -> tuple[str, str, bytes]:
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, timeout=20, cwd=folder)
        assert (done.stdout, done.stderr) == ("{}", "")
        return self.requests[-1]


@pytest.fixture(scope="module")
def received() -> Iterator[Received]:
    found = Received()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


def schema_of(*names: str, shape: tuple[int, ...] | None = None, picture: Any = None) -> Schema:
    features = tuple(Feature(name, 0, 1, nullable=True) for name in names)
    kind: Any = "table" if shape is None else "image"
    return Schema(
        task="regression",
        kind=kind,
        shape=shape or (len(names),),
        target="y",
        minimum=0,
        maximum=1,
        features=features,
        picture=picture,
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, unique=True),
    st.sampled_from([None, 1.5, 3, True, *NASTY]),
)
def test_a_record_arrives_as_it_was_whatever_its_columns_are_called(received: Received, names: list[str], cell: Any) -> None:
    (line,) = try_it(schema_of(*names), [[cell] * len(names)], url=received.url)
    path, kind, body = received.run(line)
    assert (path, kind) == ("/predict", "application/json")
    assert json.loads(body) == {"records": [{} if cell is None else dict.fromkeys(names, cell)]}


def test_booleans_are_jsons_own_and_what_is_missing_is_left_out(received: Received) -> None:
    words = {"a": ("False", "True"), "b": ("no", "yes"), "c": ("0", "1"), "d": ("false", "true")}
    features = tuple(Feature(name, 0, 1, "boolean", texts, nullable=True) for name, texts in words.items())
    schema = Schema(task="regression", kind="table", shape=(4,), target="y", minimum=0, maximum=1, features=features)
    (line,) = try_it(schema, [["True", "yes", 1, None]], url=received.url)
    assert json.loads(received.run(line)[2]) == {"records": [{"a": True, "b": "yes", "c": 1}]}


def test_a_long_row_is_posted_from_a_file(received: Received, tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    folder.mkdir()
    row = np.random.default_rng(0).random((3, 32, 32)).tolist()
    (line,) = try_it(schema_of(shape=(3, 32, 32)), [row], url=received.url, folder=folder)
    assert len(line) < 400
    assert json.loads(received.run(line)[2]) == {"inputs": [row]}
    assert try_it(schema_of(shape=(3, 32, 32)), [row], url=received.url) == []


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [("png", "png"), ("jpg", "jpeg"), ("jpeg", "jpeg"), ("webp", "webp"), ("gif", "gif"), ("bmp", "bmp"), ("picture", "*")],
)
def test_a_picture_is_uploaded_byte_for_byte_with_its_type(received: Received, tmp_path: Path, suffix: str, kind: str) -> None:
    payload = b"\x89PNG\r\n\x1a\n\n\r\n\0@end"
    name = f"cat's.{suffix}"
    (tmp_path / name).write_bytes(payload)
    (line,) = try_it(schema_of(shape=(8, 8), picture="L"), [], url=received.url, picture=Path(os.path.relpath(tmp_path / name)))
    assert received.run(line, Path("/"))[1:] == (f"image/{kind}", payload)


def test_a_model_of_plain_arrays_takes_no_upload_and_no_rows_give_no_line(tmp_path: Path) -> None:
    assert try_it(schema_of(shape=(8, 8)), [], url="http://x", picture=tmp_path / "a.png") == []
