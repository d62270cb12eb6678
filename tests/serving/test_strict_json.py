"""JSON of any shape: what is there twice, too deep, too much or no number is refused with its path."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidInput, Refusal, TooLarge
from serving.facts import Limits
from serving.protocols.strict_json import decode, keys_of

LIMITS = Limits()

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\{}[]:, a'), max_size=6)
)
keys = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\{}[]:, a'), max_size=4)
trees = st.recursive(scalars, lambda leaf: st.lists(leaf, max_size=4) | st.dictionaries(keys, leaf, max_size=4), max_leaves=25)


@given(tree=trees, ascii_only=st.booleans(), indent=st.none() | st.just(1))
def test_what_means_one_thing_only_is_what_it_was(tree: Any, ascii_only: bool, indent: int | None) -> None:
    assert decode(json.dumps(tree, ensure_ascii=ascii_only, indent=indent).encode(), LIMITS) == tree


@given(tree=st.dictionaries(keys, trees, min_size=1), data=st.data())
def test_a_key_that_is_there_twice_is_found_however_it_is_escaped_and_whatever_stands_around_it(tree: Any, data: Any) -> None:
    name = data.draw(st.sampled_from(sorted(tree)))
    written = "".join(f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else letter for letter in name)
    body = f'{json.dumps([1, tree])[:-2]}, "{written}": 0}}]'.encode()
    with pytest.raises(InvalidInput, match="^the key is there twice; send it once$") as caught:
        decode(body, LIMITS)
    assert caught.value.field == f"[1].{name}"


@given(tree=trees)
def test_keys_are_counted(tree: Any) -> None:
    counted = 0

    def count(pairs: list[tuple[str, Any]]) -> None:
        nonlocal counted
        counted += len(pairs)

    body = json.dumps(tree).encode()
    json.loads(body, object_pairs_hook=count)
    assert keys_of(body) == counted


DEEP = '[{"a": ' * 20 + "1" + "}]" * 20


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ('{"a": [1, {"b": [0, NaN]}]}', "a[1].b[1]", "JSON has neither NaN nor Infinity; send finite numbers"),
        ('{"a": "[,{\\\\", "b]": [[], [[1, 2], [3, -Infinity]]]}', "b][1][1][1]", "JSON has neither NaN nor Infinity"),
        ('{"\\u00fc": {"x": 1, "y": Infinity}}', "ü.y", "JSON has neither NaN nor Infinity"),
        ("NaN", None, "JSON has neither NaN nor Infinity (byte 0)"),
        ('{"a": [1, 1e999]}', "a[1]", "the number is too large"),
        ('{"a": {"b": ' + "9" * 5000 + "}}", "a.b", "the number is too large"),
        ('[{"a": 1}, {"a": 1, "b": 2, "a": 3}]', "[1].a", "the key is there twice"),
        (DEEP, "[0].a" * 16, "values are nested too deeply; 32 levels are the limit"),
        ('{"a": "' + "[" * 40 + '", "b": ' + "[" * 32 + "]" * 32 + "}", "b" + "[0]" * 31, "values are nested too deeply"),
        ('{"a": [1,]}', "a[1]", "the body is not JSON: trailing comma in array (byte 9)"),
        ('{"a": 1} x', None, "the body is not JSON: trailing characters"),
        ('{"a": 1', None, "the body is not JSON: input data was truncated"),
        ('{"a": "\\ud800"}', "a", "the text holds half of a surrogate pair, which is no character; send whole characters"),
        ('{"a": ["\\\\ud800", "\\ud83d\\ude00", "\\udc00 and more"]}', "a[2]", "the text holds half of a surrogate pair"),
        ('{"a": {"\\ud800": 1}}', "a.\ud800", "the text holds half of a surrogate pair"),
        ('{"\\x": [NaN]}', "\\x", "the body is not JSON: "),
        ('{"a\tb": [NaN]}', "a\tb", "the body is not JSON: "),
        ('{"a": 1e999, "b\tc": 1}', "a", "the number is too large"),
        ('{"' + '{"'.join(["k" * 50 + '": '] * 9) + "NaN", ".".join(["k" * 50] * 9)[:200] + "…", "JSON has neither"),
        ("", None, "the body is empty; send a JSON object"),
        ("\ufeff{}", None, "the body starts with a byte order mark"),
        ('{"' + "k" * 5000 + '": [NaN]}', "k" * 100 + "…[0]", "JSON has neither NaN nor Infinity"),
    ],
)
def test_what_parsers_pass_over_or_choke_on_is_refused_with_its_path(body: str, field: str | None, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(body.encode(), LIMITS)
    assert caught.value.field == field
    assert str(caught.value).startswith(message)


def test_bytes_that_are_no_utf8_are_refused() -> None:
    for body, message in (
        (b'{"\xff": 1}', r"^the body is not UTF-8 \(byte 2\)"),
        ('{"a": 1}'.encode("utf-16-le"), "^the body looks like UTF-16"),
        ('{"a": 1}'.encode("utf-32-be"), "^the body looks like UTF-16 or UTF-32"),
    ):
        with pytest.raises(InvalidInput, match=message):
            decode(body, LIMITS)


def test_texts_full_of_brackets_and_flat_bodies_full_of_objects_are_not_deep() -> None:
    body = json.dumps([{"a": "[" * 100 + '\\"'}] * 100).encode()
    assert len(decode(body, LIMITS)) == 100


def test_depth_is_counted_across_the_pieces_in_which_a_body_is_looked_at() -> None:
    text = '"' + "[" * (3 * 2**20) + '\\"'
    assert decode(b"[" + text.encode() + b'"]', LIMITS)
    with pytest.raises(InvalidInput, match="nested too deeply"):
        decode(b"[" + text.encode() + b'",' + b"[" * 40 + b"]" * 41, LIMITS)


def test_more_values_than_allowed_are_too_large() -> None:
    assert len(decode(json.dumps([0] * 12).encode(), Limits(values=12))) == 12
    bodies: list[Any] = [[0] * 13, [[]] * 13, [{}] * 13, {str(index): 0 for index in range(13)}]
    for body in bodies:
        with pytest.raises(TooLarge):
            decode(json.dumps(body).encode(), Limits(values=12))


@pytest.mark.parametrize("piece", [b"[", b"{", b'{"a":', b"[[],", b'"', b"\\", b" ", b"0,", b"[]", b"9"])
def test_16_mb_of_nothing_but_one_thing_are_refused_within_a_fraction_of_a_second_of_work(piece: bytes) -> None:
    body = piece * (2**24 // len(piece))
    started = time.process_time()
    with pytest.raises(Refusal):
        decode(body, LIMITS)
    assert time.process_time() - started < 0.5  # 0.05 on an idle machine


@given(body=st.binary(max_size=60) | st.text(st.sampled_from('{}[]:,"\\u0 Na1e'), max_size=60).map(str.encode))
def test_any_bytes_are_a_document_or_refused(body: bytes) -> None:
    try:
        found = decode(body, LIMITS)
    except Refusal:
        return
    assert json.loads(body) == found
