"""From a user's own files to a right answer over HTTP, with `init` and no Python in between."""

import contextlib
import csv
import io
import json
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artifacts import Prepared
from pipeline.cli import main
from tests.conftest import NO_MLFLOW
from tests.data.digit_pictures import write_digits
from tests.data.messy import write_messy
from tests.service import get, served

MISSING = {"", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "?"}


def command(folder: Path, *words: str) -> str:
    """Do what `python -m pipeline …` does in a folder, and return what it prints."""
    (folder / "mlflow.yaml").write_text(NO_MLFLOW)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    assert (code, err.getvalue()) == (0, "")
    return out.getvalue()


def evaluated(folder: Path) -> list[dict[str, str]]:
    return read_csv(folder / "runs" / "latest" / "evaluate" / "predictions.csv")


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def record(row: dict[str, str], features: list[dict[str, Any]]) -> dict[str, Any]:
    """A row of the CSV as a client would send it: numbers as numbers, what is missing left out."""
    cells = {feature["name"]: row[feature["name"]] for feature in features if row[feature["name"]] not in MISSING}
    numbers = {feature["name"] for feature in features if feature["kind"] == "number"}
    return {name: float(cell) if name in numbers else cell for name, cell in cells.items()}


def assert_scores(found: list[Any], expected: list[dict[str, str]]) -> None:
    np.testing.assert_allclose([answer["score"] for answer in found], [float(line["score"]) for line in expected], atol=1e-5)


def answers_of(tried: str, folder: Path) -> list[Any]:
    """Paste a printed request into a shell."""
    words = tried.removeprefix("try: ")
    done = subprocess.run(["sh", "-c", words], cwd=folder, capture_output=True, text=True, check=True)
    predictions: list[Any] = json.loads(done.stdout)["predictions"]
    return predictions


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("messy")
    write_messy(folder / "customers.csv", 1500)
    out = command(folder, "init", "customers.csv", "--target", "churned")
    assert out.splitlines()[-1] == "next: make train export serve CONFIG=configs/customers.yaml"
    command(folder, "evaluate", "--config", "configs/customers.yaml", "train.epochs=20")
    command(folder, "export", "--config", "configs/customers.yaml")
    return folder


def test_a_messy_csv_becomes_a_service_that_answers_what_the_evaluation_said_for_every_test_row(messy: Path) -> None:
    rows = read_csv(messy / "customers.csv")
    with served(Path("configs/customers.yaml"), messy) as (url, process):
        features = get(f"{url}/info")["schema"]["features"]
        assert {feature["name"]: feature["kind"] for feature in features} == {
            "age": "number",
            "income": "number",
            "city": "category",
            "plan": "category",
            "active": "boolean",
            "joined": "date",
            "visits": "number",
            "region": "category",
        }
        expected = evaluated(messy)
        records = [record(rows[int(line["row"])], features) for line in expected]
        assert any(len(found) < len(features) for found in records), "none of the test rows lacks a value"
        found = get(f"{url}/predict", {"records": records})["predictions"]
        assert [answer["label"] for answer in found] == [line["prediction"] for line in expected]
        assert_scores(found, expected)

        whole = {key: cell for key, cell in rows[int(expected[0]["row"])].items() if cell not in MISSING}
        sent = {**records[0], **{key: cell for key, cell in whole.items() if key in {"customer_id", "note", "churned"}}}
        assert get(f"{url}/predict", {"records": [sent]})["predictions"] == found[:1], (
            "columns that are left out change nothing"
        )

        unseen = {**records[0], "city": "Timbuktu", "age": None}
        other = {**unseen, "city": "Atlantis"}
        first, second = get(f"{url}/predict", {"records": [unseen, other]})["predictions"]
        assert first == second, "all unseen categories are the same to the model"
        assert set(first["probabilities"]) == {"no", "yes"}
        tried = next(line for line in iter(process.stdout.readline, "") if line.startswith("try: "))  # type: ignore[union-attr]
        assert answers_of(tried, messy)[0]["label"] in {"no", "yes"}


def test_the_unseen_category_and_the_missing_value_of_test_rows_are_scored_as_they_are_served(messy: Path) -> None:
    """The rarest city is put into test rows alone, so that evaluation itself meets a category that no train row has."""
    folder = messy / "unseen"
    folder.mkdir()
    rows = read_csv(messy / "customers.csv")
    for number, row in enumerate(rows):
        row["part"] = "test" if number % 5 == 0 else "validation" if number % 5 == 1 else "train"
        if row["part"] == "test" and number % 2 == 0:
            row["city"], row["age"] = "Neuchâtel", ""
    write_csv(folder / "customers.csv", rows)
    (folder / "c.yaml").write_text(
        "data: {path: customers.csv, target: churned}\nprepare: {split: column, split_column: part}\ntrain: {epochs: 5}\n"
    )
    command(folder, "evaluate", "--config", "c.yaml")
    command(folder, "export", "--config", "c.yaml")
    with served(Path("c.yaml"), folder) as (url, _):
        features = get(f"{url}/info")["schema"]["features"]
        (city,) = [feature for feature in features if feature["name"] == "city"]
        assert "Neuchâtel" not in city["categories"]
        expected = evaluated(folder)
        assert [line for line in expected if rows[int(line["row"])]["city"] == "Neuchâtel"]
        found = get(f"{url}/predict", {"records": [record(rows[int(line["row"])], features) for line in expected]})[
            "predictions"
        ]
        assert_scores(found, expected)


def test_a_folder_of_pictures_becomes_a_service_that_takes_uploads_and_answers_what_the_evaluation_said(tmp_path: Path) -> None:
    write_digits(tmp_path / "pictures")
    out = command(tmp_path, "init", "pictures")
    assert "configs/pictures.yaml" in out
    command(tmp_path, "evaluate", "--config", "configs/pictures.yaml", "train.epochs=3")
    command(tmp_path, "export", "--config", "configs/pictures.yaml")
    expected = evaluated(tmp_path)
    assert np.mean([line["target"] == line["prediction"] for line in expected]) > 0.9
    with served(Path("configs/pictures.yaml"), tmp_path) as (url, process):
        for line in expected[:25]:
            request = urllib.request.Request(
                f"{url}/predict",
                data=(tmp_path / "pictures" / line["file"]).read_bytes(),
                headers={"Content-Type": "image/png"},
            )
            with urllib.request.urlopen(request, timeout=5) as reply:
                (answer,) = json.loads(reply.read())["predictions"]
            assert answer["label"] == line["prediction"]
            assert answer["score"] == pytest.approx(float(line["score"]), abs=1e-5)
        tried = next(line for line in iter(process.stdout.readline, "") if line.startswith("try: "))  # type: ignore[union-attr]
        assert re.search(r"--data-binary @\S+\.png", tried)
        answer = subprocess.run(
            ["sh", "-c", tried.removeprefix("try: ")], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert len(json.loads(answer.stdout)["predictions"]) == 1


def test_statistics_and_categories_come_from_train_rows_alone(tmp_path: Path) -> None:
    """Everything in validation and test rows is changed, and what was fitted stays the same to the last bit."""
    fitted = []
    for change in (False, True):
        folder = tmp_path / str(change)
        folder.mkdir()
        write_messy(folder / "c.csv", 600)
        rows = read_csv(folder / "c.csv")
        for number, row in enumerate(rows):
            row["part"] = ("train", "train", "validation", "test")[number % 4]
            if change and row["part"] != "train":
                row |= {
                    "age": "1000000",
                    "city": "Atlantis",
                    "plan": f"plan {number % 7}",
                    "joined": "1999-01-01",
                    "visits": "-5",
                }
        write_csv(folder / "c.csv", rows)
        (folder / "c.yaml").write_text(
            "data: {path: c.csv, target: churned}\nprepare: {split: column, split_column: part, duplicates: anywhere}\n"
        )
        command(folder, "prepare", "--config", "c.yaml")
        prepared = Prepared.open(next(path for path in (folder / "data" / "prepared").iterdir() if path.is_dir()))
        learned = [(feature.name, feature.categories, feature.minimum, feature.maximum) for feature in prepared.schema.features]
        fitted.append((prepared.statistics, learned, prepared.split("train")[0].tobytes()))
        outside = {cell for row in rows if row["part"] != "train" for cell in row.values()}
        assert ("Atlantis" in outside) is change
    assert fitted[0] == fitted[1]
