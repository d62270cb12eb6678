"""Bodies that parsers choke on, or pass over in silence: each is refused in its protocol's own words, with the place."""

import gc
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.bundle import Golden
from serving.columns import Encoder
from tests.serving.attack import Raw, ask, refusal_of, strictly, watched
from tests.serving.conftest import ATOL, MESSY, RTOL, TABLE, expected_of, make_bundle
from tests.serving.server import Running, resident
from tests.serving.strict_bodies import BODIES, COUNTS, DEPTHS, FORMS, OTHER_ENCODINGS, SHAPES, TWICE, V1, V2, VALUES, Form

MB = 2**20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    bundle = make_bundle(tmp_path_factory.mktemp("strict") / "bundle", TABLE)
    with watched(bundle) as started:
        yield started


def refused(service: Running, path: str, body: bytes, *statuses: int) -> tuple[str, str | None]:
    reply = ask(service, path, body)
    assert reply.status in (statuses or (400,)), (path, body[:200], reply)
    return refusal_of(path, reply)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_form_without_fault_is_answered_and_its_answer_is_json_to_the_letter(service: Running, form: Form) -> None:
    for number in ("3", "-3", "3.5", "3e0", "0.0", "1e-400", "340282346638528859811704183484516925440"):
        reply = ask(service, form.path, form.of(number))
        # The model itself overflows for the last one, which is refused, too.
        assert reply.status in ({200, 400} if len(number) > 30 else {200}), (number, reply)
        strictly(reply.body)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_value_that_is_no_finite_number_is_400_with_its_path(service: Running, form: Form, value: str) -> None:
    message, field = refused(service, form.path, form.of(value))
    assert field == form.place, message


@pytest.mark.parametrize("value", DEPTHS.values(), ids=DEPTHS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_nesting_without_end_is_refused_at_once_wherever_it_stands(service: Running, form: Form, value: str) -> None:
    started = time.monotonic()
    for body in (form.of(value), value.encode(), b'{"unknown": ' + value.encode() + b"}"):
        refused(service, form.path, body, 400, 413)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", ["/predict", "/invocations", V1, V2])
def test_a_body_that_is_no_request_is_400(service: Running, path: str, body: bytes) -> None:
    message, _ = refused(service, path, body)
    assert message


@pytest.mark.parametrize("change", OTHER_ENCODINGS.values(), ids=OTHER_ENCODINGS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_another_encoding_and_what_follows_the_end_are_400(service: Running, form: Form, change: object) -> None:
    assert callable(change)
    refused(service, form.path, change(form.of("3")))


@pytest.mark.parametrize(("path", "body", "place"), TWICE.values(), ids=TWICE)
def test_a_key_that_is_there_twice_is_400_with_its_path(service: Running, path: str, body: str, place: str) -> None:
    message, field = refused(service, path, body.replace("HOLE", "3").encode())
    assert "twice" in message
    assert field == place


@pytest.mark.parametrize(("path", "body", "place"), SHAPES.values(), ids=SHAPES)
def test_rows_of_another_shape_are_refused_with_their_path(service: Running, path: str, body: str, place: str) -> None:
    message, field = refused(service, path, body.replace("HOLE", "3").encode(), 400, 413)
    assert field == place, message


@pytest.mark.parametrize(("path", "body"), COUNTS.values(), ids=COUNTS)
def test_more_values_than_one_request_may_hold_are_413(service: Running, path: str, body: bytes) -> None:
    message, _ = refused(service, path, body, 413)
    assert "values" in message or "rows" in message


@pytest.mark.parametrize("path", ["/predict", "/invocations", V1, V2])
def test_16_mb_of_brackets_are_answered_within_a_second(service: Running, path: str) -> None:
    body = b"[" * (16 * MB)
    started = time.monotonic()
    refused(service, path, body, 400, 413)
    assert time.monotonic() - started < 1


def test_what_is_refused_over_and_over_leaves_no_memory_behind(service: Running) -> None:
    (worker,) = service.workers()
    sizes = []
    for _ in range(5):
        for form in FORMS.values():
            for value in [*VALUES.values(), *DEPTHS.values()]:
                refused(service, form.path, form.of(value), 400, 413)
        for path, body in COUNTS.values():
            refused(service, path, body, 413)
        gc.collect()
        sizes.append(resident(worker) / MB)
    assert service.workers() == [worker]
    assert sizes[-1] - sizes[0] < 20, sizes


def test_missing_values_of_pandas_are_read_as_missing_and_nothing_else_is(tmp_path: Path) -> None:
    record = {"age": 3, "member": True, "city": "Bern", "joined": "2020-01-01", "mass": 2}
    cells = [[3, True, "Bern", "2020-01-01", 2]]
    golden = Golden(cells, expected_of(MESSY, Encoder(MESSY).encode(cells)).tolist(), ATOL, RTOL)
    with watched(make_bundle(tmp_path / "bundle", MESSY, golden=golden)) as service:

        def asked(path: str, form: str, **changes: str) -> Raw:
            row = ", ".join(f'"{name}": {changes.get(name, json.dumps(value))}' for name, value in record.items())
            return ask(service, path, f'{{"{form}": [{{{row}}}]}}'.encode())

        # The tiny model has no answer for what is missing, and says so: the row was read.
        missing = asked("/invocations", "dataframe_records", age="NaN")
        assert b"no finite answer" in missing.body, missing
        for path, form, change in (
            ("/predict", "records", {"age": "NaN"}),
            ("/invocations", "dataframe_records", {"mass": "NaN"}),
            ("/invocations", "dataframe_records", {"age": "Infinity"}),
            (V1, "instances", {"age": "NaN"}),
        ):
            reply = asked(path, form, **change)
            assert reply.status == 400, (path, change, reply)
            assert refusal_of(path, reply)[1] == f"{form}[0].{next(iter(change))}"
