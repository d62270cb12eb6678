"""A file of labels for pictures: classes or values, matched by file name, and what is wrong is named with its line."""

import csv
from pathlib import Path

import pytest

from pipeline.errors import DataError
from tests.data.drawn import draw, found, opened


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_labels(*rows: tuple[str, ...], header: tuple[str, ...] = ("file", "label"), delimiter: str = ",") -> str:
    with Path("labels.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return "labels.csv"


def test_a_file_of_labels_names_the_classes() -> None:
    for number in range(4):
        draw(f"{number}.png")
    labels = write_labels(("./0.png", "cat"), ("1.png", "dog"), ("2.png", " dog "), ("3.png", "cat"), delimiter=";")
    arrays = opened(labels=labels)
    assert (arrays.classes, arrays.targets.tolist()) == (("cat", "dog"), [0, 1, 1, 0])


def test_a_file_of_labels_may_have_its_columns_anywhere_and_target_chooses_one() -> None:
    draw("x/0.png")
    draw("x/1.png")
    rows = (("0", "7", "x/0.png"), ("1", "8", "x/1.png"))
    labels = write_labels(*rows, header=("number", "digit", "where"))
    arrays = opened(labels=labels, target="digit")
    assert (arrays.target, arrays.classes) == ("digit", ("7", "8"))
    with pytest.raises(DataError, match="has no single column 'label' beside 'where'; its other columns are: number, digit"):
        opened(labels=labels)


def test_the_only_other_column_is_the_label_unless_another_one_is_asked_for() -> None:
    draw("0.png")
    draw("1.png")
    labels = write_labels(("0.png", "cat"), ("1.png", "dog"), header=("file", "animal"))
    assert opened(labels=labels).target == "animal"
    with pytest.raises(DataError, match="no single column 'aminal'"):
        opened(labels=labels, target="aminal")


def test_labels_with_fractions_are_values_and_whole_ones_are_if_the_task_says_so() -> None:
    draw("0.png")
    draw("1.png")
    arrays = opened(labels=write_labels(("0.png", "1.5"), ("1.png", "2")))
    assert (arrays.task, str(arrays.targets.dtype), arrays.targets.tolist()) == ("regression", "float32", [1.5, 2.0])
    whole = write_labels(("0.png", "1"), ("1.png", "2"))
    assert opened(labels=whole).task == "classification"
    assert opened(labels=whole, task="regression").targets.tolist() == [1.0, 2.0]


def test_files_that_are_missing_fail_and_files_that_are_not_listed_are_warned_of() -> None:
    for number in range(4):
        draw(f"{number}.png")
    arrays = opened(labels=write_labels(("0.png", "a"), ("1.png", "b"), ("7.png", "a"), ("8.png", "a")))
    missing = found(arrays, "broken_images")
    assert (missing.verdict, missing.text) == (
        "FAIL",
        "2 picture(s) that labels.csv lists are not below pictures: 7.png, 8.png",
    )
    unlisted = found(arrays, "unlisted_pictures")
    assert unlisted.text == "2 picture(s) of pictures are not in labels.csv and are left out: 2.png, 3.png"
    assert len(arrays.inputs) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n", "data.labels: labels.csv has no rows below a header; give it columns of file names and labels"),
        (
            "file,label\n0.png,a\n1.png\n0.png,a,b\n",
            "data.labels: labels.csv has a header of 2 columns, and not as many in line(s) 3, 4",
        ),
        (
            "file,label\nzero,a\none,b\n",
            "data.labels: no column of labels.csv names pictures, such as 0.png; its columns are: file, label",
        ),
        (
            "file,label\n0.png,\n1.png,b\n1.png,c\n",
            (
                "data.labels: labels.csv has no label in line(s) 2; fill or delete them\n"
                "data.labels: labels.csv lists 1 file(s) more than once: 1.png (the first in lines 3, 4); keep one line "
                "for each"
            ),
        ),
        (
            "file,label\n../0.png,a\n../1.png,b\n",
            "data.labels: none of the 2 files that labels.csv lists is below 'pictures': ../0.png, …",
        ),
    ],
)
def test_a_file_of_labels_that_cannot_be_used_is_refused_with_its_lines(text: str, message: str) -> None:
    draw("0.png")
    draw("1.png")
    Path("labels.csv").write_text(text)
    with pytest.raises(DataError) as refused:
        opened(labels="labels.csv")
    assert str(refused.value) == message


def test_a_missing_word_among_numbers_is_no_class_and_among_texts_it_is() -> None:
    for number in range(3):
        draw(f"{number}.png")
    numbers = write_labels(("0.png", "1.5"), ("1.png", "NA"), ("2.png", "nan"))
    with pytest.raises(DataError) as caught:
        opened(labels=numbers)
    (line,) = caught.value.lines
    assert line == "data.labels: labels.csv has no label in line(s) 3, 4 ('NA', 'nan' among numbers); fill or delete them"
    assert opened(labels=write_labels(("0.png", "CH"), ("1.png", "NA"), ("2.png", "CH"))).classes == ("CH", "NA")


def test_the_first_label_that_is_no_number_is_named_with_its_line() -> None:
    for number in range(3):
        draw(f"{number}.png")
    labels = write_labels(("2.png", "1.5"), ("1.png", "3 m"), ("0.png", "?!"))
    with pytest.raises(DataError, match=r"^data.task: regression needs .*; labels.csv has '3 m' in line 3$"):
        opened(labels=labels, task="regression")


def test_the_file_of_labels_is_not_among_those_that_are_left_out() -> None:
    for number in range(2):
        draw(f"images/{number}.png")
    Path("pictures/notes.txt").touch()
    Path("pictures/labels.csv").write_text("file,label\nimages/0.png,a\nimages/1.png,b\n")
    left_out = found(opened(labels="pictures/labels.csv"), "other_files")
    assert left_out.text == "1 file(s) are no pictures by their names and are left out: notes.txt"


def test_labels_that_are_no_utf_8_are_refused_with_the_byte() -> None:
    draw("0.png")
    Path("labels.csv").write_bytes(b"file,label\n0.png,caf\xe9\n")
    with pytest.raises(DataError, match=r"^data.labels: labels.csv is no UTF-8 text: byte 20 is 0xe9$"):
        opened(labels="labels.csv")
