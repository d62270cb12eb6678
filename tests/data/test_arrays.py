"""Arrays of NumPy: found by name, never unpickled, and what cannot be learned from is refused with its rows."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config.data_sections import ArraysData
from pipeline.data.sources import Opened, files_of
from pipeline.data.sources.arrays import from_arrays, open_arrays
from pipeline.data.table import Arrays, Table
from pipeline.errors import DataError

LABELS = np.array([0, 1, 0, 1, 1])
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 7)).astype(np.uint8)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(**members: Any) -> Opened:
    """Open an .npz file with these arrays."""
    np.savez("data.npz", **members)
    return open_arrays(ArraysData(path="data.npz"))


def taken(inputs: Any, targets: Any = LABELS, *, task: Any = "auto") -> Opened:
    return from_arrays(np.asarray(inputs), np.asarray(targets), target="target", task=task, origin="data.npz")


def images(inputs: Any = IMAGES, targets: Any = LABELS, *, task: Any = "auto") -> Arrays:
    source = taken(inputs, targets, task=task).source
    assert isinstance(source, Arrays)
    return source


def table(opened: Opened) -> Table:
    assert isinstance(opened.source, Table)
    return opened.source


def cells(opened: Opened) -> dict[str, list[Any]]:
    frame = table(opened).frame.collect()
    return {name: frame[name].to_list() for name in frame.columns}


def line(error: pytest.ExceptionInfo[DataError]) -> str:
    assert all("\n" not in line for line in error.value.lines)
    return "\n".join(error.value.lines)


def test_kinds_of_columns_hold_for_arrays_of_columns_and_are_refused_for_others() -> None:
    np.savez("data.npz", X=np.arange(10).reshape(5, 2), y=LABELS)
    assert open_arrays(ArraysData(path="data.npz", columns={"x1": "category"})).kinds == {"x1": "category"}
    np.savez("data.npz", X=IMAGES, y=LABELS)
    with pytest.raises(DataError) as caught:
        open_arrays(ArraysData(path="data.npz", columns={"x1": "category"}))
    assert line(caught) == (
        "data.columns: x1: inputs of data.npz have the shape (5, 6, 7), and only (rows, columns) have columns; leave it out"
    )


def test_texts_that_differ_by_blanks_are_one_class_which_is_too_few() -> None:
    with pytest.raises(DataError, match="is 'a' in every row, so there is nothing to learn; choose another target"):
        taken(np.arange(10).reshape(5, 2), np.array(["a", "a ", " a", "a", "a"]))


@pytest.mark.parametrize(("inputs", "targets"), [("inputs", "targets"), ("X", "y"), ("images", "labels"), ("data", "target")])
def test_the_arrays_of_an_npz_file_are_found_by_their_usual_names(inputs: str, targets: str) -> None:
    arrays = read(**{inputs: IMAGES, targets: LABELS}).source
    assert isinstance(arrays, Arrays)
    np.testing.assert_array_equal(arrays.inputs, IMAGES)
    assert arrays.targets.tolist() == LABELS.tolist()
    assert (arrays.origin, arrays.target, arrays.task, arrays.classes) == ("data.npz", "target", "classification", ("0", "1"))


def test_other_names_are_taken_from_the_config_and_listed_where_there_are_none() -> None:
    np.savez("data.npz", pixels=IMAGES, digit=LABELS)
    section = ArraysData(path="data.npz", inputs="pixels", targets="digit")
    assert isinstance(open_arrays(section).source, Arrays)
    with pytest.raises(DataError) as refused:
        open_arrays(ArraysData(path="data.npz"))
    assert line(refused) == (
        "data.inputs: no array of data.npz is called inputs, x, X, data, images, features; "
        "its arrays are: pixels (5, 6, 7) uint8, digit (5,) int64"
    )
    with pytest.raises(DataError, match=r"^data.targets: data.npz has no array 'digits'; its arrays are: pixels .*, digit"):
        open_arrays(section.model_copy(update={"targets": "digits"}))


def test_two_arrays_that_could_be_meant_are_not_guessed_between() -> None:
    with pytest.raises(DataError, match="^data.inputs: could be x or data; say which one"):
        read(x=IMAGES, data=IMAGES, y=LABELS)


def test_npy_files_are_mapped_and_not_read() -> None:
    np.save("inputs.npy", IMAGES)
    np.save("targets.npy", LABELS)
    section = ArraysData(path="inputs.npy", targets_path="targets.npy")
    arrays = open_arrays(section).source
    assert isinstance(arrays, Arrays)
    assert isinstance(arrays.inputs, np.memmap)
    assert files_of(section) == [Path("inputs.npy"), Path("targets.npy")]


def test_rows_of_numbers_are_a_table_with_missing_values() -> None:
    opened = taken([[1.5, np.nan], [2, 3], [4, 5], [6, 7], [8, 9]])
    assert (opened.target, opened.task, table(opened).rows) == (("target",), "classification", 5)
    assert cells(opened) == {
        "x0": [1.5, 2, 4, 6, 8],
        "x1": [None, 3, 5, 7, 9],
        "target": ["0", "1", "0", "1", "1"],
    }


def test_a_table_can_have_several_values_or_several_labels() -> None:
    inputs = np.arange(10).reshape(5, 2)
    values = np.arange(10).reshape(5, 2) + 0.5
    several = taken(inputs, values)
    assert (several.target, several.task) == (("target_0", "target_1"), "regression")
    assert cells(several)["target_1"] == values[:, 1].tolist()
    labels = taken(inputs, [[0, 1], [1, 1], [0, 0], [1, 0], [0, 1]])
    assert (labels.target, labels.task) == (("0", "1"), "multilabel")
    assert cells(labels)["0"] == [0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("inputs", "shape", "picture"),
    [
        (IMAGES, (5, 6, 7), "L"),
        (IMAGES[..., None], (5, 6, 7), "L"),
        (IMAGES[:, None], (5, 6, 7), "L"),
        (np.stack([IMAGES] * 3, axis=1), (5, 3, 6, 7), "RGB"),
        (np.stack([IMAGES] * 3, axis=-1), (5, 3, 6, 7), "RGB"),
        (IMAGES.astype(np.float32), (5, 6, 7), None),
        (IMAGES // 16, (5, 6, 7), None),  # 0 to 15: uploads of 0 to 255 would mean something else
        (IMAGES > 99, (5, 6, 7), None),
    ],
)
def test_images_are_recognized_and_those_on_the_scale_of_files_take_uploads(
    inputs: NDArray[Any], shape: tuple[int, ...], picture: str | None
) -> None:
    arrays = images(inputs)
    assert (arrays.inputs.shape, arrays.picture) == (shape, picture)
    if inputs.ndim == 4:
        np.testing.assert_array_equal(arrays.inputs if len(shape) == 3 else arrays.inputs[:, 1], IMAGES)
    told = [finding.text for finding in arrays.findings if finding.check == "channels"]
    moved = [f"inputs of data.npz have the shape {inputs.shape}; they are taken as {shape}"]
    assert told == (moved if inputs.shape != shape else [])


@pytest.mark.parametrize(
    ("targets", "task", "classes", "values"),
    [
        ([10, 9, 2, 9, 10], "classification", ("2", "9", "10"), [2, 1, 0, 1, 2]),
        (["10", "9", "2", "9", "10"], "classification", ("2", "9", "10"), [2, 1, 0, 1, 2]),
        ([-1, 1, 1, -1, 1], "classification", ("-1", "1"), [0, 1, 1, 0, 1]),
        ([True, False, True, True, False], "classification", ("false", "true"), [1, 0, 1, 1, 0]),
        (["b", "a", "é", "a", "b "], "classification", ("a", "b", "é"), [1, 0, 2, 0, 1]),
        ([b"b", b"a", b"a", b"a", b"b"], "classification", ("a", "b"), [1, 0, 0, 0, 1]),
        ([[1], [0], [0], [1], [0]], "classification", ("0", "1"), [1, 0, 0, 1, 0]),
        ([1.5, 2, 3, 4, 5], "regression", (), [1.5, 2, 3, 4, 5]),
        ([[0, 1], [1, 1], [0, 0], [1, 0], [0, 1]], "multilabel", ("0", "1"), [[0, 1], [1, 1], [0, 0], [1, 0], [0, 1]]),
        ([[0.5, 1], [1, 2], [3, 0], [1, 0], [0, 1]], "regression", (), [[0.5, 1], [1, 2], [3, 0], [1, 0], [0, 1]]),
    ],
)
def test_what_targets_mean_is_read_from_their_values(targets: Any, task: str, classes: tuple[str, ...], values: Any) -> None:
    arrays = images(IMAGES, targets)
    assert (arrays.task, arrays.classes, arrays.targets.tolist()) == (task, classes, values)
    assert arrays.targets.dtype == (np.int64 if task == "classification" else np.float32)
    assert arrays.targets_names == (("target_0", "target_1") if task == "regression" and arrays.targets.ndim == 2 else ())


def test_the_task_forces_one_reading() -> None:
    assert images(IMAGES, [1, 2, 3, 4, 4], task="regression").targets.tolist() == [1.0, 2.0, 3.0, 4.0, 4.0]
    assert images(IMAGES, [1.0, 2.0, 1.0, 2.0, 2.0], task="classification").classes == ("1", "2")
    one_hot = np.eye(3)[[0, 2, 1, 1, 0]]
    assert images(IMAGES, one_hot, task="classification").targets.tolist() == [0, 2, 1, 1, 0]


def test_rows_with_a_single_one_are_warned_of_since_they_may_be_classes() -> None:
    (finding,) = images(IMAGES, np.eye(2)[[0, 1, 1, 0, 1]]).findings
    assert (finding.check, finding.verdict) == ("one_each", "WARN")


FLAT = np.arange(10.0).reshape(5, 2)


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (FLAT[:3], LABELS, "data: data.npz has 3 rows of inputs and 5 of targets; give one for each"),
        (FLAT[:0], LABELS[:0], "data: inputs of data.npz have the shape (0, 2), so there is nothing in them"),
        (
            FLAT[:, 0],
            LABELS,
            "data: inputs of data.npz are one number a row, (5,); give (rows, columns): inputs.reshape(-1, 1)",
        ),
        (
            FLAT.reshape(1, 1, 1, 2, 5),
            LABELS[:1],
            "data: inputs of data.npz have the shape (1, 1, 1, 2, 5); give (rows, columns), or images (rows, height, width)",
        ),
        (
            np.zeros((5, 4, 8, 8)),
            LABELS,
            (
                "data: inputs of data.npz have the shape (5, 4, 8, 8), without an axis of 1 or 3 channels; "
                "give (rows, channels, height, width) or (rows, height, width, channels)"
            ),
        ),
        (
            FLAT.astype(complex)[:2],
            LABELS,
            (
                "data: inputs of data.npz are of type complex128; give numbers, or a CSV or Parquet file\n"
                "data: data.npz has 2 rows of inputs and 5 of targets; give one for each"
            ),
        ),
        (FLAT.astype(str), LABELS, "data: inputs of data.npz are of type <U32; give numbers, or a CSV or Parquet file"),
        (FLAT, LABELS.astype(complex), "data: targets of data.npz are of type complex128; give numbers, booleans or text"),
        (
            FLAT,
            [1.0, np.nan, 2.0, np.inf, 1e300],
            (
                "data: target 'target' of data.npz is missing, infinite or beyond 32-bit floating point in 3 row(s): 1, 3, 4; "
                "leave them out"
            ),
        ),
        (FLAT, ["a", "", "b", " ", "a"], "data: target 'target' of data.npz is empty in 2 row(s): 1, 3; leave them out"),
        (
            FLAT,
            [7, 7, 7, 7, 7],
            "data: target 'target' of data.npz is 7 in every row, so there is nothing to learn; choose another target",
        ),
        (
            FLAT,
            [[1, 0], [1, 1], [1, 0], [1, 1], [1, 0]],
            "data: column 0 of target 'target' of data.npz is 1 in every row, so there is nothing to learn; leave it out",
        ),
        (
            FLAT,
            np.zeros((5, 2, 2)),
            "data: targets of data.npz have the shape (5, 2, 2); give (rows,), or (rows, outputs) for several",
        ),
        (
            FLAT,
            [["a", "b"]] * 4 + [["b", "a"]],
            "data: targets of data.npz are 2 texts for each row; give numbers, or one text a row",
        ),
    ],
)
def test_what_cannot_be_learned_from_is_refused(inputs: Any, targets: Any, message: str) -> None:
    with pytest.raises(DataError) as refused:
        taken(inputs, targets)
    assert line(refused) == message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -1e300])
def test_images_with_values_that_are_no_numbers_are_refused_with_their_rows(value: float) -> None:
    broken = IMAGES.astype(np.float64)
    broken[1, 2, 3] = broken[4, 0, 0] = value
    with pytest.raises(DataError, match=r"^data: 2 image\(s\) of data.npz hold NaN.*: rows 1, 4; leave them out"):
        images(broken)


@pytest.mark.parametrize(
    ("targets", "task", "message"),
    [
        (
            [0.5, 1, 2, 3, 4],
            "classification",
            "data.task: classification needs whole numbers, .* is 0.5 in row 0; set data.task",
        ),
        (["a", "b", "a", "b", "a"], "regression", "data.task: regression needs numbers, .* is text, such as 'a' in row 0"),
        ([0, 1, 1, 0, 1], "multilabel", r"data.task: multilabel needs targets of \(rows, labels\)"),
        ([[0, 2], [1, 1], [0, 0], [1, 0], [0, 1]], "multilabel", "data.task: multilabel needs targets of 0 and 1"),
        ([[0, 1], [1, 1], [0, 0], [1, 0], [0, 1]], "classification", "data.task: classification needs one label for each row"),
    ],
)
def test_a_task_that_the_targets_cannot_have_is_refused(targets: Any, task: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        images(IMAGES, targets, task=task)


def test_a_target_that_is_called_like_a_column_is_refused() -> None:
    with pytest.raises(DataError, match="^data.target: 'x1' is the name of a column"):
        from_arrays(FLAT, LABELS, target="x1", task="auto", origin="data.npz")


def pickled() -> ArraysData:
    np.savez("data.npz", x=IMAGES, y=np.array(["a", None], dtype=object))
    return ArraysData(path="data.npz")


def pickled_npy() -> ArraysData:
    np.save("x.npy", np.array(["a", None], dtype=object))
    return ArraysData(path="x.npy", targets_path="x.npy")


def cut_npy() -> ArraysData:
    np.save("x.npy", IMAGES)
    Path("x.npy").write_bytes(Path("x.npy").read_bytes()[:-9])
    return ArraysData(path="x.npy", targets_path="x.npy")


def cut_npz() -> ArraysData:
    np.savez("data.npz", x=IMAGES, y=LABELS)
    Path("data.npz").write_bytes(Path("data.npz").read_bytes()[:-9])
    return ArraysData(path="data.npz")


def flipped_npz() -> ArraysData:
    np.savez_compressed("data.npz", x=IMAGES, y=LABELS)
    payload = bytearray(Path("data.npz").read_bytes())
    payload[250] ^= 255
    Path("data.npz").write_bytes(payload)
    return ArraysData(path="data.npz")


def no_arrays() -> ArraysData:
    with zipfile.ZipFile("data.npz", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    return ArraysData(path="data.npz")


def folder() -> ArraysData:
    Path("data.npz").mkdir()
    return ArraysData(path="data.npz")


def without_targets() -> ArraysData:
    np.save("x.npy", IMAGES)
    return ArraysData(path="x.npy")


def with_targets_of_its_own() -> ArraysData:
    np.savez("data.npz", x=IMAGES, y=LABELS)
    return ArraysData(path="data.npz", targets_path="y.npy")


def another_format() -> ArraysData:
    Path("data.mat").touch()
    return ArraysData(path="data.mat")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            pickled,
            "data: 'y' of data.npz holds Python objects, which only pickle reads, and a pickle can run code; save numbers",
        ),
        (pickled_npy, "data: x.npy holds Python objects, which only pickle reads"),
        (cut_npy, "data: x.npy is no whole file of NumPy's: ValueError: mmap length is greater than file size; write it again"),
        (cut_npz, "data: data.npz is no whole file of NumPy's: BadZipFile: File is not a zip file; write it again"),
        (flipped_npz, "data: data.npz is no whole file of NumPy's: "),
        (no_arrays, "data: data.npz is no whole file of NumPy's: ValueError: "),
        (folder, "data.path: 'data.npz' is a folder; name a file"),
        (
            lambda: ArraysData(path="data.npz"),
            "data.path: there is no file 'data.npz'; paths are relative to the folder of the command",
        ),
        (without_targets, "data.targets_path: name the .npy file of targets that belongs to 'x.npy'"),
        (with_targets_of_its_own, "data.targets_path: 'data.npz' is an .npz file, which holds its targets; set it to null"),
        (another_format, "data.path: 'data.mat' is neither .npz nor .npy"),
    ],
)
def test_files_that_cannot_be_read_are_refused_in_one_line(make: Any, message: str) -> None:
    section = make()
    with pytest.raises(DataError) as refused:
        open_arrays(section)
    assert line(refused).startswith(message)
    assert len(refused.value.lines) == 1
