"""The service as people start it: a real process on a free port of the loopback."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.bundle import GOLDEN
from tests.serving.conftest import TABLE, expected_of, golden_of, make_bundle, rows_of
from tests.serving.server import LIMIT_S, PROMPTLY_S, running

ROWS = rows_of(TABLE, 2)
BODY = json.dumps({"inputs": ROWS.tolist()}).encode()


def refused(bundle: Path, *options: str, port: int | None = None) -> tuple[int, str]:
    """Return the exit code and the output of a service that must end by itself."""
    with running(bundle, *options, port=port) as service:
        output, _ = service.process.communicate(timeout=LIMIT_S)
        return service.process.returncode, output


@pytest.mark.parametrize("group", [False, True], ids=["the process", "its group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_the_service_answers_and_a_signal_ends_it_with_exit_code_0(
    table_bundle: Path, number: signal.Signals, group: bool
) -> None:
    with running(table_bundle) as service:
        first, second = service.wait_for_all_workers()
        answer = service.request("POST", "/predict", BODY)
        assert answer.status == 200
        found = [list(prediction["probabilities"].values()) for prediction in json.loads(answer.body)["predictions"]]
        np.testing.assert_allclose(found, expected_of(TABLE, ROWS), atol=1e-5)
        code, output, seconds = service.stop(number, group=group)
        assert code == 0
        assert seconds < PROMPTLY_S
        assert output == ""
        assert first.startswith("loading tiny 1 (sha256 ")
        assert ", onnxruntime): 1 worker(s) x 1 thread(s) on " in first
        assert second == f"serving on http://127.0.0.1:{service.port}; Ctrl-C stops"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_a_service_that_is_still_loading_its_model(torchscript_bundle: Path, number: signal.Signals) -> None:
    with running(torchscript_bundle) as service:
        assert service.process.stdout is not None
        assert service.process.stdout.readline().startswith("loading tiny 1")
        code, output, seconds = service.stop(number)  # torch alone takes a second to import
        assert (code, output) == (0, "")
        assert seconds < PROMPTLY_S


def test_a_torchscript_bundle_is_served(torchscript_bundle: Path) -> None:
    with running(torchscript_bundle) as service:
        service.wait_until_ready()
        answer = service.request("POST", "/predict", BODY)
        found = [list(prediction["probabilities"].values()) for prediction in json.loads(answer.body)["predictions"]]
        np.testing.assert_allclose(found, expected_of(TABLE, ROWS), atol=1e-5)
        assert service.stop(signal.SIGTERM)[:1] == (0,)


@pytest.mark.parametrize(("given", "found"), [(os.SCHED_OTHER, os.SCHED_BATCH), (os.SCHED_IDLE, os.SCHED_IDLE)])
def test_threads_of_a_worker_interrupt_nobody_unless_they_were_started_with_another_policy(
    table_bundle: Path, given: int, found: int
) -> None:
    def policies() -> set[int]:
        os.sched_setscheduler(0, given, os.sched_param(0))  # of this thread, and of what it starts
        with running(table_bundle) as service:
            service.wait_until_ready()
            assert service.request("POST", "/predict", BODY).status == 200
            (worker,) = service.workers()
            return {os.sched_getscheduler(int(task.name)) for task in Path(f"/proc/{worker}/task").iterdir()}

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(policies).result() == {found}


def test_head_tells_the_length_of_what_get_would_send(table_bundle: Path) -> None:
    with running(table_bundle) as service:
        service.wait_until_ready()
        for path, status in {"/healthz": 200, "/readyz": 200, "/info": 200, "/": 200, "/nowhere": 404, "/predict": 405}.items():
            head, whole = service.request("HEAD", path), service.request("GET", path)
            assert (head.status, whole.status, head.body) == (status, status, b"")
            assert head.headers["content-type"] == whole.headers["content-type"]
            assert [int(length) for length in head.headers.get_all("content-length") or []] == [len(whole.body)]


def test_two_workers_count_as_one(table_bundle: Path) -> None:
    with running(table_bundle, "--workers", "2") as service:
        service.wait_for_all_workers()
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda _: service.request("POST", "/predict", BODY), range(40)))
        assert [answer.status for answer in answers] == [200] * 40
        time.sleep(0.5)  # each worker publishes what it counted every quarter of a second
        lines = service.metrics()
        counted = [line for line in lines if line.startswith('slipway_requests_total{model="') and 'protocol="predict"' in line]
        assert [line.rpartition(" ")[2] for line in counted] == ["40.0"]
        assert 'slipway_request_duration_seconds_count{protocol="predict"} 40.0' in lines
        code, output, _ = service.stop(signal.SIGTERM)
        assert (code, output) == (0, "")


def test_a_body_of_unknown_length_is_read_up_to_the_limit_and_refused_beyond(table_bundle: Path) -> None:
    with running(table_bundle, "--max-body-mb", "1") as service:
        service.wait_until_ready()
        assert service.request("POST", "/predict", iter([BODY[:9], BODY[9:]])).status == 200
        too_long = service.request("POST", "/predict", iter([BODY, *[b" " * 2**16] * 17]))
        assert too_long.status == 413
        assert json.loads(too_long.body)["error"]["code"] == "request_entity_too_large"


def test_a_port_in_use_is_refused_in_one_line_and_a_port_left_behind_is_free_at_once(table_bundle: Path) -> None:
    with running(table_bundle) as service:
        service.wait_until_ready()
        code, output = refused(table_bundle, port=service.port)
        assert code == 2
        assert output == (
            f"serving: cannot listen on 127.0.0.1:{service.port} (Address already in use); "
            "choose others with --host and --port\n"
        )
        assert service.request("GET", "/readyz").status == 200
        service.stop(signal.SIGTERM)
        with running(table_bundle, port=service.port) as successor:
            successor.wait_until_ready()


def test_a_host_name_is_looked_up_and_an_unknown_one_is_refused(table_bundle: Path) -> None:
    with running(table_bundle, "--host", "localhost") as service:
        assert service.wait_for_all_workers()[-1] == f"serving on http://localhost:{service.port}; Ctrl-C stops"
    code, output = refused(table_bundle, "--host", "256.0.0.1", port=8080)
    assert (code, output.count("\n")) == (2, 1)
    assert output.startswith("serving: cannot listen on 256.0.0.1:8080 (")


def test_a_corrupt_bundle_is_refused_in_one_line(own_bundle: Path) -> None:
    content = bytearray((own_bundle / GOLDEN).read_bytes())
    content[10] ^= 1
    (own_bundle / GOLDEN).write_bytes(content)
    code, output = refused(own_bundle)
    assert (code, output.count("\n")) == (2, 1)
    assert output.startswith(f"serving: {own_bundle / GOLDEN}: the file changed after it was written")


@pytest.mark.parametrize("name", ["nowhere", "n" * 300], ids=["missing", "too long a name"])
def test_a_folder_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    code, output = refused(tmp_path / name)
    assert (code, output.count("\n")) == (2, 1)
    assert output.startswith("serving: ")
    assert name in output


def test_a_model_that_fails_its_golden_requests_is_said_to_be_unready_where_people_look(tmp_path: Path) -> None:
    golden = golden_of(TABLE)
    golden.outputs[0][0] += 0.5
    with running(make_bundle(tmp_path / "bundle", TABLE, golden=golden)) as service:
        assert ", NOT READY: golden request 0: output 0 is " in service.wait_for_all_workers()[-1]


@pytest.mark.parametrize(
    ("options", "variables", "said"),
    [
        (["--log-file", "/nowhere/requests.log"], {}, "No such file or directory: '/nowhere/requests.log'"),
        (["--workers", "200"], {}, "200 threads that compute, for "),
        ([], {"SLIPWAY_API_KEYS": "schlüssel"}, "SLIPWAY_API_KEYS has a key with other characters than ASCII"),
        (["--canary", "/nowhere"], {}, "no bundle.json here"),
    ],
    ids=["log file", "too many workers", "key", "canary"],
)
def test_what_cannot_work_is_refused_at_start_in_one_line(
    table_bundle: Path, options: list[str], variables: dict[str, str], said: str
) -> None:
    with running(table_bundle, *options, port=None, **variables) as service:
        output, _ = service.process.communicate(timeout=LIMIT_S)
        assert (service.process.returncode, output.count("\n")) == (2, 1)
        assert said in output


def test_the_word_that_sagemaker_starts_containers_with_changes_nothing(table_bundle: Path) -> None:
    with running(table_bundle, "serve") as service:
        service.wait_until_ready()


def test_vertex_tells_its_containers_where_it_will_ask(table_bundle: Path) -> None:
    with running(table_bundle, AIP_HEALTH_ROUTE="/alive", AIP_PREDICT_ROUTE="/ask") as service:
        service.wait_until_ready()
        assert service.request("GET", "/alive").status == 200
        answer = service.request("POST", "/ask", json.dumps({"instances": ROWS.tolist()}).encode())
        assert "predictions" in json.loads(answer.body)


BAD_OPTIONS: list[tuple[list[str], str]] = [
    (["--port", "0"], "argument --port: must lie between 1 and 65535, got 0"),
    (["--port", "http"], "argument --port: invalid number value: 'http'"),
    (["--workers", "0"], "argument --workers: must lie between 1 and 256, got 0"),
    (["--threads", "-1"], "argument --threads: must lie between 1 and 1024, got -1"),
    (["--max-body-mb", "1e3"], "argument --max-body-mb: invalid number value: '1e3'"),
    (["--wait", "soon"], "argument --wait: invalid seconds value: 'soon'"),
    (["--percent", "101"], "argument --percent: must lie between 0 and 100, got 101"),
    (["--reload"], "unrecognized arguments: --reload"),
]


@pytest.mark.parametrize(
    ("options", "message"), BAD_OPTIONS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_bad_option_is_refused_with_its_name_and_range(
    table_bundle: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    from serving.command import main

    with pytest.raises(SystemExit) as caught:
        main(["--bundle", str(table_bundle), *options])
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"python -m serving: error: {message}"


def test_the_command_without_a_bundle_says_what_is_missing() -> None:
    done = subprocess.run([sys.executable, "-m", "serving"], capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert done.returncode == 2
    assert done.stderr.endswith("error: the following arguments are required: --bundle\n")
