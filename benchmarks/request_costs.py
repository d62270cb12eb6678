"""What one request of at most 16 MB may cost: CPU time and growth of peak memory, each kind in a process of its own.

python -m benchmarks.request_costs
"""

import argparse
import io
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from serving.bundle import Artifact, Description, Lineage
from serving.columns import Encoder
from serving.exchange import Request
from serving.facts import Limits, ModelFacts
from serving.images import MOST_EFFORT, effort_of
from serving.protocols import native
from serving.schema import Feature, Schema

_COLUMNS = 40
_SIDE = 7071  # of a picture of almost 50 megapixels
_LIMITS = Limits()
_TABLES = [f"{form}, {cells}" for form in ("JSON lists", "JSON records", "CSV") for cells in ("numbers", "numbers and texts")]
_PICTURES = {
    "JPEG": ("RGB", "JPEG"),
    "JPEG, progressive": ("RGB", "JPEG"),
    "PNG with transparency": ("RGBA", "PNG"),
    "WebP": ("RGB", "WEBP"),
}
_FORM = "form of "  # as many of the largest pictures of a kind as one request may hold
_FORMS = [_FORM + kind for kind in _PICTURES]


def _feature(index: int, *, texts: bool) -> Feature:
    if texts and index % 2 == 0:
        return Feature(f"c{index}", 1, 3, "category", ("a", "b", "c"), nullable=True)
    return Feature(f"c{index}", 0, 9)


def _table(texts: bool) -> Schema:
    features = tuple(_feature(index, texts=texts) for index in range(_COLUMNS))
    return Schema(task="regression", kind="table", shape=(_COLUMNS,), target="y", minimum=0, maximum=9, features=features)


def _picture() -> Schema:
    classes = ("0", "1")
    shape = (3, 32, 32)
    return Schema(
        task="classification", kind="image", shape=shape, target="y", minimum=0, maximum=255, classes=classes, picture="RGB"
    )


def _body_of_table(kind: str) -> tuple[str, bytes]:
    texts = kind.endswith("texts")
    cells = ["a" if texts and index % 2 == 0 else "1.5" for index in range(_COLUMNS)]
    quoted = [cell if cell == "1.5" else f'"{cell}"' for cell in cells]
    start, row, between, end = {
        "CSV": (",".join(f"c{index}" for index in range(_COLUMNS)) + "\n", ",".join(cells), "\n", "\n"),
        "JSON lists": ('{"inputs":[', f"[{','.join(quoted)}]", ",", "]}"),
        "JSON records": ('{"records":[', "{" + ",".join(f'"c{i}":{cell}' for i, cell in enumerate(quoted)) + "}", ",", "]}"),
    }[kind.split(",", 1)[0]]
    room = _LIMITS.body_bytes - len(start) - len(end)
    count = min(_LIMITS.rows, room // (len(row) + 1))
    content_type = "text/csv" if kind.startswith("CSV") else "application/json"
    return content_type, (start + between.join([row] * count) + end).encode()


def _body_of_picture(kind: str) -> tuple[str, bytes]:
    mode, form = _PICTURES[kind.removeprefix(_FORM)]
    buffer = io.BytesIO()
    Image.new(mode, (_SIDE, _SIDE), "teal").save(buffer, form, progressive=kind.endswith("progressive"))
    if not kind.startswith(_FORM):
        return f"image/{form.lower()}", buffer.getvalue()
    count = MOST_EFFORT * _LIMITS.pixels // effort_of(buffer.getvalue())
    part = b'--c\r\nContent-Disposition: form-data; name="a"; filename="x"\r\n\r\n%s\r\n' % buffer.getvalue()
    return "multipart/form-data; boundary=c", part * count + b"--c--"


def _measure(kind: str, content_type: str) -> None:
    """Print what one request of a kind costs, in this process."""
    schema = _picture() if kind in [*_PICTURES, *_FORMS] else _table(kind.endswith("texts"))
    description: Any = Description(
        format_version=1,
        name="costs",
        version="1",
        created="",
        schema=schema,
        artifact=Artifact("", "onnxruntime", ""),
        lineage=Lineage("", "", "", "", ""),
        metrics={},
        parity={},
        files={},
    )
    codec = native.Codec(ModelFacts(description, "", None if schema.plain else Encoder(schema), _LIMITS))
    body = sys.stdin.buffer.read()
    started, before = time.process_time(), _peak_mb()
    work = codec.parse(Request("POST", "/predict", "", {"content-type": content_type}.get, body))
    work.encode(np.zeros((len(work.rows), schema.outputs), dtype=np.float32))
    seconds = time.process_time() - started
    print(f"{kind:<32} {len(work.rows):>9,} {len(body) / 2**20:>6.1f} {seconds:>6.2f} {_peak_mb() - before:>6.0f}")


def _peak_mb() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Measure every kind."""
    parser = argparse.ArgumentParser(description="CPU time and peak memory of one request of at most 16 MB, of each kind.")
    parser.add_argument("--body", nargs=2, metavar=("KIND", "TYPE"), help="measure what standard input has, in this process")
    if (of := parser.parse_args().body) is not None:
        _measure(*of)
        return
    print(f"{'request':<32} {'rows':>9} {'MB':>6} {'CPU s':>6} {'+ MB':>6}", flush=True)
    for kind in [*_TABLES, *_PICTURES, *_FORMS]:
        content_type, body = _body_of_table(kind) if kind in _TABLES else _body_of_picture(kind)
        subprocess.run([sys.executable, "-m", "benchmarks.request_costs", "--body", kind, content_type], input=body, check=True)


if __name__ == "__main__":
    main()
