"""Folders of picture files: training sees what the service computes of the same file, and what is wrong is named."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.config.data_sections import ImagesData
from pipeline.data.sources import files_of, open_source
from pipeline.data.sources.pictures import open_pictures
from pipeline.errors import DataError
from serving.images import decode
from tests.data.digit_pictures import write_digits
from tests.data.drawn import draw, found, opened


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_folder_of_digits_becomes_the_digits(tmp_path: Path) -> None:
    write_digits(Path("pictures"), rows=200)
    arrays = opened()
    assert (arrays.inputs.shape, str(arrays.inputs.dtype), arrays.picture) == ((200, 8, 8), "uint8", "L")
    assert arrays.inputs.max() == 255
    assert (arrays.task, arrays.classes, arrays.target) == ("classification", tuple("0123456789"), "label")
    assert arrays.targets.dtype == np.int64
    places = [arrays.place(row) for row in range(200)]
    assert places == sorted(places)
    assert [arrays.classes[code] for code in arrays.targets] == [place.split("/")[0] for place in places]


def test_training_sees_bit_for_bit_what_the_service_computes_of_the_same_file() -> None:
    draw("cat/plain.png", color=(10, 60, 120), size=(40, 30))
    draw("cat/photo.JPG", color=(10, 60, 120), size=(97, 55))
    draw("cat/nested/deep/web.webp", color=(0, 90, 3), size=(20, 20))
    draw("dog/gray.png", size=(33, 21))
    turned = Image.Exif()
    turned[0x0112] = 6
    draw("dog/turned.jpeg", color=(100, 0, 0), size=(50, 10), exif=turned)
    for mode in ("L", "RGB"):
        arrays = opened(mode=mode, size=(13, 17))
        assert arrays.inputs.shape == ((5, 13, 17) if mode == "L" else (5, 3, 13, 17))
        assert arrays.original is not None
        for row in range(5):
            upload = arrays.original(row)
            assert upload == Path("pictures", arrays.place(row)).read_bytes()
            np.testing.assert_array_equal(decode(upload, mode=mode, size=(13, 17)), arrays.inputs[row].astype(np.float32))


def test_pixels_are_on_disk_and_mapped() -> None:
    write_digits(Path("pictures"), rows=30)
    arrays = opened()
    assert isinstance(arrays.inputs, np.memmap)
    np.testing.assert_array_equal(np.load("scratch/pictures.npy"), arrays.inputs)


def test_one_picture_with_color_among_those_that_are_looked_at_makes_all_rgb() -> None:
    for number in range(5):
        draw(f"a/{number}.png")
        draw(f"b/{number}.png")
    assert opened().picture == "L"
    draw("b/x.png", color=(100, 0, 0))
    assert opened().picture == "RGB"


def test_gray_that_is_saved_as_color_is_gray() -> None:
    for path in ("a/1.png", "b/1.png"):
        picture = Image.open(draw(path))
        picture.convert("RGB").save(Path("pictures", path))
    assert opened().picture == "L"


def test_the_size_is_the_median_of_upright_pictures() -> None:
    draw("a/1.png", size=(10, 20))
    draw("a/2.png", size=(12, 22))
    turned = Image.Exif()
    turned[0x0112] = 8
    draw("b/3.jpg", size=(60, 14), exif=turned)  # 14 wide, 60 high, once it is upright
    assert opened().inputs.shape == (3, 22, 12)


def test_a_long_side_is_cut_to_224_and_the_ratio_kept() -> None:
    draw("a/1.png", size=(1000, 500))
    draw("b/1.png", size=(1000, 500))
    assert opened().inputs.shape == (2, 112, 224)
    draw("a/1.png", size=(1000, 1))
    draw("b/1.png", size=(1000, 1))
    assert opened().inputs.shape == (2, 1, 224)


def test_progress_ends_with_all_pictures_done() -> None:
    write_digits(Path("pictures"), rows=300)
    told: list[tuple[int, int]] = []
    Path("scratch").mkdir()
    open_pictures(ImagesData(path="pictures"), Path("scratch"), tell=lambda done, total: told.append((done, total)))
    assert told == [(done, 300) for done in range(1, 301)]


def test_every_broken_picture_is_named_in_one_pass_and_left_out() -> None:
    write_digits(Path("pictures"), rows=40)
    whole = Path("pictures/1/0001.png").read_bytes()
    Path("pictures/1/0001.png").write_bytes(whole[: len(whole) // 2])
    Path("pictures/2/empty.png").touch()
    Path("pictures/3/page.jpg").write_text("<html>")
    arrays = opened()
    finding = found(arrays, "broken_images")
    assert finding.verdict == "FAIL"
    assert finding.text.startswith("3 of 42 pictures cannot be read: 1/0001.png (the picture is damaged")
    assert "2/empty.png (the picture is empty), 3/page.jpg (this is no picture in PNG" in finding.text
    assert "prepare.allow=[broken_images]" in finding.advice
    assert len(arrays.inputs) == len(arrays.targets) == 39
    assert "1/0001.png" not in [arrays.place(row) for row in range(39)]
    assert arrays.original is not None
    for row in range(39):  # rows and files still belong together
        assert decode(arrays.original(row), mode="L", size=(8, 8)).tobytes() == arrays.inputs[row].astype(np.float32).tobytes()
        assert arrays.classes[arrays.targets[row]] == arrays.place(row).split("/")[0]


def test_of_many_broken_pictures_five_are_named() -> None:
    write_digits(Path("pictures"), rows=40)
    for number in range(7):
        Path(f"pictures/0/broken{number}.png").write_bytes(b"\x89PNG")
    assert found(opened(), "broken_images").text.endswith(" and 2 more")


def test_a_folder_of_nothing_but_broken_pictures_is_refused() -> None:
    for path in ("a/1.png", "b/1.png"):
        draw(path).write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"^data: 2 of 2 pictures cannot be read: a/1.png \(this is no picture"):
        opened()


def test_a_class_that_is_lost_to_broken_pictures_is_told_with_them() -> None:
    draw("a/1.png")
    draw("b/1.png").write_bytes(b"no picture")
    with pytest.raises(DataError) as refused:
        opened()
    assert len(refused.value.lines) == 2
    assert refused.value.lines[0].startswith("data: 1 of 2 pictures cannot be read: b/1.png")
    assert refused.value.lines[1] == "data: the pictures of pictures have one label only, 'a'; give another class, or numbers"


def test_what_lies_around_is_left_out_and_named() -> None:
    draw("a/1.png")
    draw("b/1.png")
    draw("loose.png")
    draw("a/.hidden.png")
    draw(".cache/1.png")
    Path("pictures/b/notes.txt").touch()
    Path("pictures/empty").mkdir()
    arrays = opened()
    assert (arrays.classes, len(arrays.inputs)) == (("a", "b"), 2)
    assert found(arrays, "loose_pictures").text == (
        "1 picture(s) of pictures lie beside the class folders and are left out: loose.png"
    )
    assert found(arrays, "other_files").text == "1 file(s) are no pictures by their names and are left out: b/notes.txt"
    assert found(arrays, "empty_class").text == "1 folder(s) of pictures hold no picture and are no class: empty"
    assert {finding.verdict for finding in arrays.findings} == {"WARN", "PASS"}


def test_folders_called_like_splits_are_warned_of() -> None:
    draw("train/cat/1.png")
    draw("test/cat/1.png")
    assert "by their names splits" in found(opened(), "split_folders").text


def test_linked_folders_are_followed_but_not_around_in_circles() -> None:
    draw("a/1.png")
    draw("b/1.png")
    shutil.move("pictures/b", "elsewhere")
    Path("pictures/b").symlink_to(Path("elsewhere").absolute())
    Path("pictures/a/up").symlink_to(Path("pictures").absolute())
    arrays = opened()
    assert [arrays.place(row) for row in range(len(arrays.inputs))] == ["a/1.png", "b/1.png"]


def test_classes_that_are_numbers_are_in_their_order() -> None:
    for name in ("10", "9", "2"):
        draw(f"{name}/1.png")
    assert opened().classes == ("2", "9", "10")


def test_folders_whose_names_differ_by_blanks_are_one_label_which_is_too_few() -> None:
    draw("cat/0.png")
    draw("cat /1.png")
    with pytest.raises(DataError, match=r"the pictures of pictures have one label only, 'cat"):
        opened()


@pytest.mark.parametrize("path", [b"pictures/cat/caf\xe9.png", b"pictures/caf\xe9/0.png", b"pictures/caf\xe9.txt"])
def test_a_name_that_is_no_utf_8_is_named(path: bytes) -> None:
    draw("dog/0.png")
    odd = Path(os.fsdecode(path))
    odd.parent.mkdir(parents=True, exist_ok=True)
    odd.write_bytes(Path("pictures/dog/0.png").read_bytes())
    for read in (opened, lambda: files_of(ImagesData(path="pictures"))):
        with pytest.raises(
            DataError, match=r"^data: '.*caf\\udce9.*' below 'pictures' has a name that is no UTF-8 text; rename"
        ):
            read()


def one_class() -> None:
    draw("only/1.png")


def only_loose() -> None:
    draw("1.png")


def only_others() -> None:
    Path("pictures").mkdir()
    Path("pictures/readme.txt").touch()


def a_file() -> None:
    Path("pictures").touch()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: None,
            "data.path: 'pictures' does not exist; name a folder of pictures, relative to the folder of the command",
        ),
        (a_file, "data.path: 'pictures' is a file; name a folder of pictures, relative to the folder of the command"),
        (
            only_others,
            (
                "data.path: 'pictures' holds no pictures (.png, .jpg, .jpeg, .webp, .bmp, .gif); "
                "it has 1 other file(s), such as readme.txt"
            ),
        ),
        (
            one_class,
            (
                "data.path: 'pictures' has one folder with pictures, 'only'; "
                "make a folder for each class, or give data.labels a file of labels"
            ),
        ),
        (
            only_loose,
            (
                "data.path: 'pictures' has 1 picture(s) and no folders; "
                "make a folder for each class, or give data.labels a file of labels"
            ),
        ),
    ],
)
def test_a_folder_without_classes_is_refused(make: Any, message: str) -> None:
    make()
    with pytest.raises(DataError) as refused:
        opened()
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("multilabel", "data.task: multilabel is for tables and arrays"),
        (
            "regression",
            "data.task: regression needs a file of labels that are numbers; the names of folders are classes, such as 'a'",
        ),
    ],
)
def test_a_task_that_folders_cannot_have_is_refused(task: str, message: str) -> None:
    draw("a/1.png")
    draw("b/1.png")
    with pytest.raises(DataError, match=message):
        opened(task=task)


def test_the_rows_depend_on_the_pictures_and_the_labels_and_nothing_else() -> None:
    draw("a/1.png")
    draw("b/1.png")
    Path("pictures/b/notes.txt").touch()
    files = [Path("pictures/a/1.png"), Path("pictures/b/1.png")]
    assert files_of(ImagesData(path="pictures")) == files
    assert files_of(ImagesData(path="pictures", labels="a.csv")) == [Path("a.csv"), *files]
    assert files_of(ImagesData(path="nowhere")) == [Path("nowhere")]


def test_open_source_says_what_the_target_is() -> None:
    draw("a/1.png")
    draw("b/1.png")
    Path("scratch").mkdir()
    source = open_source(ImagesData(path="pictures"), Path("scratch"), tell=lambda done, total: None)
    assert (source.target, source.task) == (("label",), "classification")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_a_broken_picture() -> None:
    draw("a/1.png")
    draw("a/2.png").chmod(0)
    draw("b/1.png")
    assert "a/2.png (permission denied)" in found(opened(), "broken_images").text
