"""`init` looks at data and writes a config that loads, says what was found, and refuses in one line what cannot work."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.config import Config, load
from pipeline.config.data_sections import ArraysData, ImagesData, PythonData, TableData
from pipeline.config.yaml_source import Loader
from pipeline.errors import UserError
from pipeline.init.entries import Entry, comment_text, rendered
from pipeline.init.options import add_init
from pipeline.init.start import init, name_for
from tests.conftest import ROOT

NAMES = (
    "yes",
    "1e5",
    ": #",
    "null",
    "a: b",
    "- x",
    "'",
    '"',
    "#c",
    "Zürich 🏔",
    "tab\tbed",
    "a\nb",
    "",
    " lead",
    "x" * 300,
    "010",
    "~",
)
texts = st.sampled_from(NAMES) | st.text(st.characters(exclude_categories=["Cs"]), max_size=200)

Run = Callable[..., tuple[Config, list[str], str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `init` in an empty folder; return the config, what was said, and the text of the file."""
    monkeypatch.chdir(tmp_path)

    def started(path: str, target: str | None = None, **given: Any) -> tuple[Config, list[str], str]:
        said: list[str] = []
        file = init(Path(path), target=target, **({"name": None, "force": False, "say": said.append} | given))
        assert not Path("data").exists(), "the scratch folder is removed"
        assert not list(Path("configs").glob("*.trial.yaml"))
        return load(file), said, file.read_text()

    return started


def refused(run: Run, *words: Any, **given: Any) -> list[str]:
    with pytest.raises(UserError) as caught:
        run(*words, **given)
    assert caught.value.exit_code == 2
    return list(caught.value.lines)


def houses(rows: int = 400) -> pl.DataFrame:
    """Return rows with one column of each kind, and a heavy-tailed price."""
    random = np.random.default_rng(0)
    size = random.uniform(20, 200, rows)
    city = random.choice(["Bern", "Zürich", "yes"], rows)
    return pl.DataFrame(
        {
            "id": [f"A{number:05}" for number in random.permutation(rows)],
            "size": [None if number < 40 else float(value) for number, value in enumerate(size)],
            "city": city,
            "garden": random.choice(["yes", "no"], rows),
            "sold": [f"2024-{number % 12 + 1:02}-{number % 28 + 1:02}" for number in range(rows)],
            "customer_id": random.integers(0, 50, rows),
            "price": np.round(np.exp(size / 30 + random.normal(size=rows)), 2),
        }
    )


@given(st.dictionaries(texts, st.tuples(texts | st.integers() | st.lists(texts, max_size=3), texts), max_size=6))
def test_names_values_and_comments_of_any_kind_come_back_as_they_were(entries: dict[str, tuple[Any, str]]) -> None:
    below = tuple(Entry(key, value, comment) for key, (value, comment) in entries.items())
    off = tuple(Entry(key, value, comment, off=True) for key, (value, comment) in entries.items())
    text = rendered([Entry("data", (Entry("first", 1), *below, *off)), Entry("train", (Entry("loss", off),))])
    loaded = yaml.load(text, Loader=Loader)  # a SafeLoader
    assert loaded == {"data": {"first": 1} | {key: value for key, (value, _) in entries.items()}}


@given(st.text())
def test_a_comment_is_one_short_line(text: str) -> None:
    comment = comment_text(text)
    assert len(comment.splitlines()) <= 1
    assert len(comment) <= 160


@given(st.text(min_size=1).filter(lambda text: "/" not in text and "\0" not in text))
def test_every_file_name_gives_a_name_that_a_config_may_have(text: str) -> None:
    assert Config(name=name_for(Path(text)))


def test_a_format_of_dates_that_is_not_iso_is_written_down(run: Run) -> None:
    american = pl.col("sold").str.to_date().dt.strftime("%m/%d/%Y")
    houses().with_columns(american).write_csv("h.csv")
    config, _, text = run("h.csv", "price")
    assert isinstance(config.data, TableData)
    assert config.data.columns["sold"] == "date %m/%d/%Y"
    assert "# split_column: sold" in text


def test_a_csv_becomes_a_config_with_every_column_and_hints(run: Run) -> None:
    houses().write_csv("my houses.csv", separator=";")
    config, said, text = run("my houses.csv", "price")
    assert config.name == "my_houses"
    assert isinstance(config.data, TableData)
    assert (config.data.path, config.data.target) == ("my houses.csv", "price")
    assert config.data.columns == {
        "id": "ignore",
        "size": "number",
        "city": "category",
        "garden": "boolean",
        "sold": "date",
        "customer_id": config.data.columns["customer_id"],
    }
    assert config.prepare.normalize_target == "log"
    assert "10 % missing" in text
    assert "# split: time" in text
    assert "# split_column: sold" in text
    assert "# split: grouped" in text
    assert "# split_column: customer_id" in text
    assert said[0].startswith("my houses.csv: 400 rows, ")
    assert said[-2:] == ["wrote configs/my_houses.yaml", "next: make train export serve CONFIG=configs/my_houses.yaml"]


def test_a_kind_that_is_in_doubt_is_a_comment_so_that_prepare_still_says_so(run: Run) -> None:
    ages = [str(18 + n % 60) if n % 40 else "unknown" for n in range(400)]
    houses().with_columns(pl.Series("age", ages)).write_csv("h.csv")
    config, _, text = run("h.csv", "price")
    assert isinstance(config.data, TableData)
    assert "age" not in config.data.columns
    assert "# age: category" in text


def test_weights_of_classes_are_offered_where_one_is_rare(run: Run) -> None:
    frame = houses().with_columns(pl.Series("kind", ["a"] * 300 + ["b"] * 70 + ["c"] * 30))
    frame.write_csv("x.csv")
    config, _, text = run("x.csv", "kind")
    assert config.train.loss.class_weights == "none"
    assert "class_weights: balanced" in text
    _, _, text = run("x.csv", "city", name="y")
    assert "class_weights" not in text
    assert "classification: 3 classes: " in text


def test_two_numbers_are_predicted_together(run: Run) -> None:
    houses().write_parquet("x.parquet")
    config, _, _ = run("x.parquet", "price, size")
    assert isinstance(config.data, TableData)
    assert config.data.target == ("price", "size")
    assert "size" not in config.data.columns


def test_a_logarithm_is_not_suggested_where_one_of_several_targets_is_below_its_range(run: Run) -> None:
    houses().with_columns(pl.Series("change", np.linspace(-5, 5, 400))).write_csv("x.csv")
    assert run("x.csv", "price, customer_id")[0].prepare.normalize_target == "log"
    config, _, text = run("x.csv", "price, change", name="y")
    assert config.prepare.normalize_target == "standard"
    assert "log needs values above -1" in text


def test_a_column_whose_name_has_a_comma_is_one_target(run: Run) -> None:
    houses().rename({"price": "price, CHF"}).write_csv("x.csv")
    config, _, _ = run("x.csv", "price, CHF")
    assert isinstance(config.data, TableData)
    assert config.data.target == "price, CHF"


def test_odd_column_names_survive(run: Run) -> None:
    frame = houses().select("size", "price", pl.col("city").alias("yes"), pl.col("garden").alias(": #'1e5"))
    frame.write_csv("x.csv")
    config, _, _ = run("x.csv", "price")
    assert isinstance(config.data, TableData)
    assert config.data.columns == {"size": "number", "yes": "category", ": #'1e5": "boolean"}


def test_a_folder_of_pictures_gets_convolutions_and_augmentation(run: Run) -> None:
    random = np.random.default_rng(0)
    for number in range(24):
        folder = Path("shots", "cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 20), dtype=np.uint8)).save(folder / f"{number}.png")
    config, said, _ = run("shots")
    assert isinstance(config.data, ImagesData)
    assert config.model.name == "cnn"
    assert config.augment.translate > 0
    assert "24 rows of 20 x 20" in said[0]


def pictures(*folders: str, suffix: str = "png", each: int = 12) -> None:
    random = np.random.default_rng(0)
    for folder in folders:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            Image.fromarray(random.integers(0, 256, (20, 20), dtype=np.uint8)).save(Path(folder, f"{number}.{suffix}"))


@pytest.mark.parametrize("suffix", ["gif", "bmp", "JPEG", "webp"])
def test_every_kind_of_picture_that_is_read_is_known(run: Run, suffix: str) -> None:
    pictures("shots/cat", "shots/dog", suffix=suffix)
    config, said, _ = run("shots")
    assert isinstance(config.data, ImagesData)
    assert said[0].startswith("shots: 24 rows of ")  # noise that was compressed has colors


def test_class_folders_may_be_links(run: Run) -> None:
    pictures("elsewhere/cat", "elsewhere/dog")
    Path("shots").mkdir()
    for name in ("cat", "dog"):
        Path("shots", name).symlink_to(Path("elsewhere", name).absolute(), target_is_directory=True)
    _, said, _ = run("shots")
    assert "24 rows of 20 x 20" in said[0]


def test_a_file_of_labels_may_name_pictures_without_the_one_folder_that_holds_them(run: Run) -> None:
    pictures("shots/images")
    Path("shots/labels.csv").write_text("file,label\n" + "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(12)))
    config, said, _ = run("shots")
    assert isinstance(config.data, ImagesData)
    assert (config.data.path, config.data.labels) == ("shots/images", "shots/labels.csv")
    assert said[0].startswith("shots/images: 12 rows ")


@pytest.mark.parametrize("folders", [("shots/images",), ("shots/train", "shots/test")])
def test_a_file_of_labels_beside_folders_that_are_no_classes_is_used(run: Run, folders: tuple[str, ...]) -> None:
    pictures(*folders)
    names = [Path(folder).name for folder in folders]
    rows = [f"{name}/{number}.png,{'ab'[number % 2]}\n" for name in names for number in range(12)]
    Path("shots/labels.csv").write_text("file,kind\n" + "".join(rows))
    config, said, text = run("shots")
    assert isinstance(config.data, ImagesData)
    assert config.data.labels == "shots/labels.csv"
    assert "classification: 2 classes: a, b" in text
    assert not [line for line in said if line.startswith("warning: ") and "left out" in line]


def test_arrays_of_large_images_get_a_resnet_and_targets_are_found_beside(run: Run) -> None:
    images = np.random.default_rng(0).random((20, 3, 72, 72), dtype=np.float32)
    np.save("train_X.npy", images)
    np.save("train_y.npy", np.arange(20) % 2)
    config, _, _ = run("train_X.npy")
    assert isinstance(config.data, ArraysData)
    assert config.data.targets_path == "train_y.npy"
    assert config.model.name == "resnet"


def test_a_python_file_is_called(run: Run) -> None:
    Path("mine.py").write_text("""
def load():
    numbers = range(60)
    return {"a": [float(i % 17) for i in numbers], "b": list("xyz") * 20, "target": [i % 2 for i in numbers]}
""")
    config, _, _ = run("mine.py")
    assert isinstance(config.data, PythonData)
    assert config.data.columns["b"] == "category"


def test_without_a_target_the_columns_are_listed_with_a_guess(run: Run) -> None:
    houses().write_csv("x.csv")
    lines = refused(run, "x.csv")
    assert "TARGET=price" in lines[0]
    assert any("price" in line and "likely: numbers" in line for line in lines)
    assert any("city" in line and "classes, 3 different" in line for line in lines)
    assert not Path("configs").exists()


def test_a_config_that_is_there_stays_unless_forced(run: Run) -> None:
    houses().write_csv("x.csv")
    run("x.csv", "price")
    kept = Path("configs/x.yaml").read_text()
    Path("configs/x.yaml").write_text("# mine\n")
    (line,) = refused(run, "x.csv", "price")
    assert "configs/x.yaml is there already" in line
    assert Path("configs/x.yaml").read_text() == "# mine\n"
    run("x.csv", "price", force=True)
    assert Path("configs/x.yaml").read_text() == kept


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.csv", "x"), "there is no file or folder 'none.csv'"),
        (("empty", "x"), "neither Parquet files nor pictures (it is empty)"),
        (("notes.docx", "x"), "is no kind of file that is read"),
        (("one.png", "x"), "is one picture; name the folder"),
        (("x.csv", "prise"), "did you mean 'price'?"),
    ],
)
def test_what_cannot_work_is_one_line_and_leaves_nothing(run: Run, words: tuple[str, str], message: str) -> None:
    houses().write_csv("x.csv")
    Path("empty").mkdir()
    for name in ("notes.docx", "one.png"):
        Path(name).write_text("?")
    (line,) = refused(run, *words)
    assert message in line
    assert not Path("configs").exists()
    assert not Path("data").exists()


def test_a_constant_target_and_a_name_that_is_none_are_refused(run: Run) -> None:
    houses().with_columns(pl.lit(1).alias("same")).write_csv("x.csv")
    assert "same" in refused(run, "x.csv", "same")[0]
    assert "--name: must be 1 to 40 letters" in refused(run, "x.csv", "price", name="a b")[0]


@pytest.mark.parametrize("rows", [50, 5_000, 50_000])
def test_larger_tables_get_larger_nets_and_less_decay(run: Run, rows: int) -> None:
    values = np.random.default_rng(0).normal(size=(rows, 2))
    pl.DataFrame({"a": values[:, 0], "b": values[:, 1], "y": values[:, 0] + values[:, 1]}).write_parquet("x.parquet")
    config, _, _ = run("x.parquet", "y")
    assert config.model.name == "mlp"
    expected = {50: ((32,), 0.3), 5_000: ((64, 32), 0.1), 50_000: ((128, 64), 0.01)}[rows]
    assert (config.model.hidden, config.train.optimizer.weight_decay) == expected
    assert json.loads(config.model_dump_json())


def test_the_command_line_asks_for_the_same(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    houses().write_csv("x.csv")
    parser = argparse.ArgumentParser()
    add_init(parser.add_subparsers(), say=print)
    options = parser.parse_args(["init", "x.csv", "--target", "price", "--name", ""])
    assert options.run_command(options) == 0
    assert capsys.readouterr().out.splitlines()[-2] == "wrote configs/x.yaml"


def test_the_command_line_is_known_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys, pipeline.init.options\n"
        "print([name for name in ('polars', 'torch', 'sklearn', 'PIL', 'pydantic', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
