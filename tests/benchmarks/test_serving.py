"""bench-serving: a stack that answers wrongly is not timed, figures are what the load tool saw, verdicts follow from them."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving import environments, table, wires
from benchmarks.serving.bigger import Bigger
from benchmarks.serving.load import Sample, measure, parse, script
from benchmarks.serving.models import golden_rows
from benchmarks.serving.rounds import BODIES, Contender, middle, play, start, wrong
from benchmarks.serving.stacks import STACKS, Stack
from tests.conftest import Finished

ONE = ("JSON, 1 row", 32)
Answer = Callable[[str, bytes], tuple[int, bytes]]


@contextmanager
def answering(answer: Answer) -> Iterator[int]:
    """Serve `answer(path, body) -> (status, body)` on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            status, body = answer(self.path, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def says(outputs: object, status: int = 200) -> Answer:
    return lambda *_: (status, json.dumps({"outputs": outputs}).encode())


def test_only_the_evaluated_models_own_answers_count_as_right(finished: Finished) -> None:
    bundle = finished.exported.bundle
    _, expected = golden_rows(bundle, 2)
    cases: list[tuple[Answer, str | None]] = [
        (says(expected.tolist()), None),
        (says((expected + 0.01).tolist()), "off by 0.01"),
        (says(expected[:1].tolist()), "shape (1, 3), not (2, 3)"),
        (says(expected.tolist(), status=503), "answers 503"),
        (lambda *_: (200, b"<html>"), "cannot be read"),
        (says(np.full_like(expected, np.nan).tolist()), "wrongly"),
    ]
    for answer, fault in cases:
        with answering(answer) as port:
            found = wrong(port, wires.PLAIN, bundle, 2)
        assert (found is None) if fault is None else (found is not None and fault in found), (fault, found)


def test_a_stack_that_nobody_installed_is_named_with_the_reason_and_not_started(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "PEERS", tmp_path)
    assert environments.unusable("ours") is None
    assert "not installed" in str(environments.unusable("litserve"))
    (tmp_path / "litserve").mkdir()
    (tmp_path / "litserve" / "failed.txt").write_text("No matching distribution found for litserve==0.2.19")
    contender = start("litserve", finished.folder, tmp_path / "place", 0)
    assert contender.server is None
    assert "No matching distribution found for litserve==0.2.19" in contender.faults[""]
    play([contender], finished.exported.bundle, rounds=1, seconds=1, core=0)
    assert contender.samples == {}


def test_an_environment_with_other_pins_is_installed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "PEERS", tmp_path)
    (tmp_path / "litserve").mkdir()
    stamp = tmp_path / "litserve" / "installed.json"
    stamp.write_text(json.dumps(list(STACKS["litserve"].pins)))
    assert environments.unusable("litserve") is None
    stamp.write_text(json.dumps(["litserve==0.2.18"]))
    assert environments.unusable("litserve") is not None


def test_every_stack_has_exact_pins_or_runs_in_our_environment() -> None:
    pins = [pin for stack in STACKS.values() for pin in stack.pins]
    assert len(pins) >= 10
    assert [pin for pin in pins if pin.count("==") != 1] == []
    assert set(table.TIMES) < set(STACKS)
    assert len({pin for pin in pins if pin.startswith("onnxruntime==")}) == 1, "all run the model with the same runtime"


@pytest.mark.parametrize("rows", [1, 16])
def test_each_wire_carries_the_same_rows(rows: int) -> None:
    sent = np.random.default_rng(0).uniform(0, 16, (rows, 8, 8)).astype(np.float32)
    for wire in (wires.OURS, wires.PLAIN, wires.LIST, wires.MLFLOW):
        assert np.array_equal(np.asarray(json.loads(wire.encode(sent)[1])["inputs"], dtype=np.float32), sent)
    (tensor,) = json.loads(wires.v2("m", binary=False).encode(sent)[1])["inputs"]
    assert np.array_equal(np.asarray(tensor["data"], dtype=np.float32).reshape(tensor["shape"]), sent)
    headers, body = wires.v2("m", binary=True).encode(sent)
    length = int(headers["inference-header-content-length"])
    assert json.loads(body[:length])["inputs"][0]["parameters"]["binary_data_size"] == sent.nbytes
    assert body[length:] == wires.RAW.encode(sent)[1] == sent.tobytes()


def test_an_answer_of_the_open_inference_protocol_is_read_from_json_and_from_binary() -> None:
    outputs, wire = np.random.default_rng(0).uniform(size=(2, 10)).astype(np.float32), wires.v2("m", binary=True)
    tensor = {"name": "outputs", "shape": [2, 10], "datatype": "FP32"}
    text = json.dumps({"outputs": [tensor | {"data": outputs.ravel().tolist()}]}).encode()
    assert np.array_equal(wire.decode({}, text), outputs)
    head = json.dumps({"outputs": [tensor | {"parameters": {"binary_data_size": outputs.nbytes}}]}).encode()
    answer = wire.decode({"inference-header-content-length": str(len(head))}, head + outputs.tobytes())
    assert np.array_equal(answer, outputs)


def test_a_window_counts_answers_and_failures_apart() -> None:
    figures = {"requests": 1000, "microseconds": 2_000_000, "p50": 1500, "p99": 4000, "status": 100, "socket": 3}
    found = parse(f"Running 2s test\nFIGURES {json.dumps(figures)}\n")
    assert found == Sample(rate=450.0, p50_ms=1.5, p99_ms=4.0, errors=103)
    with pytest.raises(ValueError, match="no figures: 'unable to connect'"):
        parse("unable to connect")


def test_headers_and_paths_with_quotes_stay_text_in_the_load_script() -> None:
    text = script(Path('/tmp/a "b"/body'), {"x-name": 'say "hi"'})
    assert r"""io.open("/tmp/a \"b\"/body", "rb")""" in text
    assert r'''wrk.headers["x-name"] = "say \"hi\""''' in text


@pytest.mark.skipif(not (shutil.which("wrk") and shutil.which("taskset")), reason="needs wrk and taskset: apt install wrk")
def test_wrk_posts_the_body_and_every_second_answer_that_fails_is_an_error() -> None:
    bodies: list[bytes] = []

    def answer(path: str, body: bytes) -> tuple[int, bytes]:
        bodies.append(body)
        return (200 if len(bodies) % 2 else 503), path.encode()

    sent = bytes(range(256))
    with answering(answer) as port:
        found = measure(f"http://127.0.0.1:{port}/raw", {"x-a": "b"}, sent, connections=1, seconds=1, core=0)
    assert set(bodies) == {sent}
    assert found.errors == pytest.approx(len(bodies) / 2, abs=2)
    assert found.rate > 0
    assert 0 < found.p50_ms <= found.p99_ms


def contenders(**rates: float) -> list[Contender]:
    """Three rounds of each stack, the middle one at this rate, with an error in the first."""
    found = []
    for name, rate in rates.items():
        samples = [Sample(rate * slower, 10.0, 15.0, errors) for slower, errors in ((0.5, 1), (1.0, 0), (3.0, 0))]
        found.append(Contender(name, Stack(name, lambda _: []), samples={ONE: samples, ("JSON, 1 row", 8): samples}))
    return found


def test_a_figure_is_the_median_over_rounds_and_no_error_is_lost() -> None:
    assert middle(contenders(ours=100.0)[0].samples[ONE]) == Sample(100.0, 10.0, 15.0, 1)


def test_a_body_that_was_answered_wrongly_in_a_later_round_has_no_figures() -> None:
    ours, fastapi = contenders(ours=100.0, fastapi=50.0)
    fastapi.faults["JSON, 1 row"] = "in round 2: answers 500"
    assert table.figures_of([ours, fastapi])[ONE].keys() == {"ours"}
    assert set(table.figures_of([ours])) == {(body, count) for body, shape in BODIES.items() for count in shape.connections}


def test_the_table_shows_the_fastest_first_and_what_ours_is_against_it() -> None:
    figures = table.figures_of(contenders(ours=1000.0, fastapi=400.0, wsgi=2000.0))
    lines = [line for line in table.main_table(figures, {name: name for name in STACKS}, {"fastapi": "0.1"}) if "c=32" in line]
    assert [line.split(" | ")[1] for line in lines] == ["wsgi", "ours", "fastapi 0.1"]
    assert [line.split(" | ")[-1] for line in lines] == ["0.50 |", "1.00 |", "2.50 |"]


def test_verdicts_follow_from_the_figures_and_what_was_not_measured_is_neither_met_nor_missed() -> None:
    figures = table.figures_of(contenders(ours=1000.0, fastapi=400.0, mlserver=400.0, wsgi=2000.0))
    large = Bigger(raw={1: 90.0, 8: 100.0}, served={"JSON": 84.0}, faults={"binary": "answers 404"}, errors={"JSON": 7})
    found = table.targets(figures, {"bentoml": "not installed"}, large, (1.2, 90.0), 130.0)
    verdicts = {one.what: one.verdict for one in found}
    assert verdicts["times fastapi, JSON, 1 row, c=32"] == "met"
    assert verdicts["times mlserver, JSON, 1 row, c=32"] == "**missed**"
    assert verdicts["times bentoml, JSON, 1 row, c=32"] == "not measured"
    assert verdicts["of the bare WSGI limit, JSON, 1 row, c=32"] == "met"
    assert verdicts["p99 in p50, JSON, 1 row, c=8"] == "met"
    assert verdicts["errors of ours, in all cells and on ResNet"] == "**missed**"
    assert verdicts["of raw ONNX Runtime's throughput, ResNet, JSON, 1 row, c=32"] == "**missed**"
    assert verdicts["of raw ONNX Runtime's throughput, ResNet, binary, 1 row, c=32"] == "not measured"
    assert verdicts["cold start to ready, s"] == "met"
    assert verdicts["resident memory of a worker, MB"] == "**missed**"
    shown = "\n".join(table.target_table(found))
    assert "not measured (not installed)" in shown
    assert "not measured (answers 404)" in shown
    assert "**missed** (7 errors)" in shown
    assert next(one.value for one in found if "errors" in one.what) == 9, "one in each of two cells, seven on ResNet"


def test_without_ours_no_target_is_judged() -> None:
    found = table.targets(table.figures_of(contenders(fastapi=400.0)), {}, None, None, None)
    assert {one.verdict for one in found} == {"not measured"}


def test_a_bound_is_met_at_the_bound() -> None:
    least = table.Target("x", 2.0, 2.0)
    assert (least.verdict, replace(least, least=False).verdict) == ("met", "met")
    assert (replace(least, value=1.99).verdict, replace(least, value=2.01, least=False).verdict) == ("**missed**",) * 2
