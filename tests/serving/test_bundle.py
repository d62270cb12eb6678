"""A folder that is not exactly the bundle that was written is refused, with a message that says why."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.bundle import DESCRIPTION, GOLDEN, REFERENCE, Bundle, Description
from serving.errors import BundleError, CorruptFile, ServingError
from serving.files import record_of, sha256_of
from tests.serving.conftest import MODEL, TABLE, golden_of, linear_onnx, make_bundle

Edit = Callable[[dict[str, Any]], object]


def edit(folder: Path, change: Edit) -> None:
    """Rewrite `bundle.json` and seal it again, as somebody who means it would."""
    path = folder / DESCRIPTION
    description = json.loads(path.read_text())
    change(description)
    with contextlib.suppress(msgspec.ValidationError):  # some changes leave nothing to seal
        description["seal"] = msgspec.convert(description, Description).sealed().seal
    path.write_text(json.dumps(description))


def listed(path: Path) -> dict[str, Any]:
    """The entry that `files` would hold for this file."""
    content: dict[str, Any] = msgspec.to_builtins(record_of(path))
    return content


def test_a_whole_bundle_opens_and_gives_back_what_was_written(table_bundle: Path) -> None:
    bundle = Bundle(table_bundle)
    assert bundle.artifact() == linear_onnx(TABLE)
    assert bundle.golden() == golden_of(TABLE)
    assert bundle.description.schema == TABLE
    assert bundle.digest == sha256_of(linear_onnx(TABLE)) == bundle.description.lineage.artifact


def test_a_bundle_holds_exactly_four_files_and_lists_all_but_its_description(table_bundle: Path) -> None:
    names = {path.name for path in table_bundle.iterdir()}
    assert names == {DESCRIPTION, MODEL, GOLDEN, REFERENCE}
    assert set(Bundle(table_bundle).description.files) == names - {DESCRIPTION}


def test_a_folder_without_a_description_is_not_a_bundle(own_bundle: Path, tmp_path: Path) -> None:
    (own_bundle / DESCRIPTION).unlink()
    no_bundles = (own_bundle, tmp_path / "nowhere", own_bundle / MODEL)
    for folder in no_bundles:
        with pytest.raises(BundleError) as caught:
            Bundle(folder)
        assert str(caught.value) == f"{folder}: no bundle.json here, so this is not a bundle; make one with `make export`"


def test_a_bundle_whose_writing_failed_has_no_description(tmp_path: Path) -> None:
    (tmp_path / GOLDEN).mkdir()
    with pytest.raises(IsADirectoryError):
        make_bundle(tmp_path, TABLE)
    assert (tmp_path / MODEL).exists()
    assert not (tmp_path / DESCRIPTION).exists()


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version_is_refused_with_both_versions(own_bundle: Path, version: object) -> None:
    edit(own_bundle, lambda description: description.update(format_version=version))
    with pytest.raises(BundleError, match=r"this service reads 1; use a matching service") as caught:
        Bundle(own_bundle)
    assert f"format_version is {version!r}" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"format_version": 1}',
        b'{"format_version": 1, "name": 3}',
        b'{"\xff": 1}',
        b'{"format_version": 1, "metrics": ' + b"[" * 100_000,
    ],
    ids=["empty", "cut off", "a list", "null", "fields missing", "wrong type", "not UTF-8", "nested too deeply"],
)
def test_a_description_that_cannot_be_read_is_refused_with_its_path(own_bundle: Path, content: bytes) -> None:
    (own_bundle / DESCRIPTION).write_bytes(content)
    with pytest.raises(BundleError, match="export the run again") as caught:
        Bundle(own_bundle)
    assert str(caught.value).startswith(f"{own_bundle / DESCRIPTION}: ")


def test_each_listed_file_that_is_missing_is_named(table_bundle: Path, tmp_path: Path) -> None:
    swept = 0
    for name in Bundle(table_bundle).description.files:
        folder = shutil.copytree(table_bundle, tmp_path / name)
        (folder / name).unlink()
        with pytest.raises(CorruptFile, match="found no file") as caught:
            Bundle(folder)
        assert caught.value.path == folder / name
        swept += 1
    assert swept == 3


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_flipped_bit_in_any_listed_file_is_refused_before_a_parser_sees_it(
    tmp_path_factory: pytest.TempPathFactory, table_bundle: Path, data: st.DataObject
) -> None:
    folder = shutil.copytree(table_bundle, tmp_path_factory.mktemp("flipped") / "bundle")
    path = folder / data.draw(st.sampled_from([MODEL, GOLDEN, REFERENCE]))
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    with pytest.raises(CorruptFile) as caught:
        Bundle(folder)
    assert (caught.value.path, caught.value.found) == (path, sha256_of(bytes(content)))


def test_a_file_that_changes_after_the_bundle_was_opened_is_refused_when_it_is_read(own_bundle: Path) -> None:
    bundle = Bundle(own_bundle)
    (own_bundle / MODEL).write_bytes(b"another model")
    with pytest.raises(CorruptFile, match="model.onnx"):
        bundle.artifact()


def test_a_file_or_folder_that_is_not_listed_is_refused(own_bundle: Path) -> None:
    (own_bundle / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="not listed in bundle.json; a bundle holds nothing but its own files") as caught:
        Bundle(own_bundle)
    assert str(own_bundle / "notes.txt") in str(caught.value)
    (own_bundle / "notes.txt").unlink()
    (own_bundle / "more").mkdir()
    with pytest.raises(BundleError, match="more: not listed in bundle.json"):
        Bundle(own_bundle)


@pytest.mark.parametrize("name", [MODEL, DESCRIPTION])
def test_a_link_is_refused_even_to_the_right_bytes(own_bundle: Path, tmp_path: Path, name: str) -> None:
    (own_bundle / name).rename(tmp_path / name)
    (own_bundle / name).symlink_to(tmp_path / name)
    with pytest.raises(BundleError, match=f"{name}: must be a plain file, not a link or a folder"):
        Bundle(own_bundle)


def test_a_folder_under_the_name_of_a_listed_file_is_refused(own_bundle: Path) -> None:
    (own_bundle / REFERENCE).unlink()
    (own_bundle / REFERENCE).mkdir()
    with pytest.raises(BundleError, match=f"{REFERENCE}: must be a plain file"):
        Bundle(own_bundle)


def test_a_lineage_that_ends_in_another_artifact_is_refused_with_both_digests(own_bundle: Path) -> None:
    digest = Bundle(own_bundle).digest
    edit(own_bundle, lambda description: description["lineage"].update(artifact="0" * 64))
    with pytest.raises(BundleError, match="export the run again") as caught:
        Bundle(own_bundle)
    assert f"the lineage ends in artifact {'0' * 64}, but the bundle holds {digest}" in str(caught.value)


def test_a_swapped_model_does_not_chain_even_with_its_digest_written_down(own_bundle: Path) -> None:
    (own_bundle / MODEL).write_bytes(b"another model")
    edit(own_bundle, lambda description: description["files"].update({MODEL: listed(own_bundle / MODEL)}))
    with pytest.raises(BundleError, match="the lineage ends in artifact"):
        Bundle(own_bundle)


@pytest.mark.parametrize("name", [MODEL, GOLDEN, REFERENCE])
def test_a_description_that_does_not_list_a_needed_file_is_refused(own_bundle: Path, name: str) -> None:
    edit(own_bundle, lambda description: description["files"].pop(name))
    with pytest.raises(BundleError, match=f"`files` does not list {name}; export the run again"):
        Bundle(own_bundle)


def test_an_artifact_that_is_not_among_the_files_is_refused(own_bundle: Path) -> None:
    edit(own_bundle, lambda description: description["artifact"].update(file="../secret"))
    with pytest.raises(BundleError, match=r"`files` does not list \.\./secret"):
        Bundle(own_bundle)


@pytest.mark.parametrize("place", ["above", "absolute"])
def test_a_name_that_leads_out_of_the_folder_reads_nothing_there(own_bundle: Path, tmp_path: Path, place: str) -> None:
    secret = tmp_path / "secret"
    shutil.copy(own_bundle / MODEL, secret)  # the right bytes with the right digest, in the wrong place
    name = "../secret" if place == "above" else str(secret)

    def lead_out(description: dict[str, Any]) -> None:
        description["files"][name] = listed(secret)
        description["artifact"]["file"] = name

    edit(own_bundle, lead_out)
    with pytest.raises(BundleError) as caught:
        Bundle(own_bundle)
    assert str(caught.value).endswith(f"`files` lists {name!r}, which is not a plain file name")


@pytest.mark.parametrize("name", ["", ".", "..", "./model.onnx", "sub/model.onnx", "model.onnx/", "../bundle/model.onnx"])
def test_only_plain_file_names_may_be_listed(own_bundle: Path, name: str) -> None:
    edit(own_bundle, lambda description: description["files"].update({name: {"sha256": sha256_of(b""), "bytes": 0}}))
    with pytest.raises(BundleError, match="which is not a plain file name"):
        Bundle(own_bundle)


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"inputs": [], "outputs": [["a"]], "atol": 1, "rtol": 1}'])
def test_golden_requests_that_cannot_be_read_are_refused_with_their_path(own_bundle: Path, content: bytes) -> None:
    (own_bundle / GOLDEN).write_bytes(content)
    edit(own_bundle, lambda description: description["files"].update({GOLDEN: listed(own_bundle / GOLDEN)}))
    with pytest.raises(BundleError, match="export the run again") as caught:
        Bundle(own_bundle).golden()
    assert str(own_bundle / GOLDEN) in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(position=st.floats(0, 0.999999), bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_description_is_refused_wherever_it_is(
    table_bundle: Path, tmp_path_factory: pytest.TempPathFactory, position: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("flipped") / "bundle"
    shutil.copytree(table_bundle, folder)
    payload = bytearray((folder / DESCRIPTION).read_bytes())
    payload[int(position * len(payload))] ^= 1 << bit
    (folder / DESCRIPTION).write_bytes(payload)
    try:
        opened = Bundle(folder).description
    except ServingError:
        return
    assert opened == Bundle(table_bundle).description, "only white space may differ"


def test_a_changed_class_label_is_refused_although_it_is_valid_json(own_bundle: Path) -> None:
    path = own_bundle / DESCRIPTION
    label = Bundle(own_bundle).description.schema.classes[0]
    path.write_text(path.read_text().replace(f'"{label}"', '"other"', 1))
    with pytest.raises(CorruptFile, match=r"bundle\.json: the file changed after it was written"):
        Bundle(own_bundle)
