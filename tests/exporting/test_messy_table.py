"""A table of cells, categories, dates and holes: trained, exported and answered by the service as the model was evaluated."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from pipeline.artifacts import Prepared
from pipeline.errors import GateRefused
from pipeline.manifest import records_of, write_manifest
from pipeline.models.embeddings import Embedded
from pipeline.tracking import Tracker
from pipeline.training.deployed import answers, deployable_of
from serving.app import create_app
from serving.bundle import Bundle
from serving.columns import Encoder
from serving.schema import Feature, Schema
from tests.made import Made, prepared_of
from tests.monitoring.trainings import Collected

CITIES = ("Bern", "Genève", "Zürich")
SHOPS = tuple(f"shop {number}" for number in range(12))
FEATURES = (
    Feature("age", 0, 90, nullable=True),
    Feature("member", 0, 1, "boolean", ("no", "yes")),
    Feature("city", 1, 3, "category", CITIES, nullable=True),
    Feature("joined", 18_000, 19_000, "date", nullable=True),
    Feature("shop", 1, 12, "category", SHOPS),
)
SCHEMA = Schema(task="regression", kind="table", shape=(6,), target="price", minimum=0, maximum=19_000, features=FEATURES)
INPUTS = {
    "kind": "table",
    "numbers": {"at": [0, 1], "fill": [45.0, 0.0], "shift": [45.0, 0.5], "scale": [20.0, 0.5], "knots": None},
    "indicators": [0, 3],
    "onehot": [{"at": 2, "categories": 3, "missing": True, "unseen": False}],
    "dates": [
        {
            "at": 3,
            "fill": [18_500.0, 0.0],
            "parts": ["elapsed", "month", "weekday"],
            "shift": [18_500.0, 0, 0, 0, 0],
            "scale": [300.0, 1, 1, 1, 1],
        }
    ],
    "embedded": [{"at": 5, "categories": 12, "width": 3}],
}


def rows_of_cells(count: int) -> tuple[list[list[Any]], np.ndarray[Any, np.dtype[np.float32]]]:
    """Return cells as people write them, about every sixth missing where it may be, and prices that follow from them."""
    generator = np.random.default_rng(0)
    cells: list[list[Any]] = []
    prices = []
    for _ in range(count):
        age, city, shop = float(generator.normal(45, 20)), int(generator.integers(3)), int(generator.integers(12))
        day = np.datetime64("2019-04-14") + int(generator.integers(1000))
        row = [age, ["yes", True, "no"][generator.integers(3)], CITIES[city], str(day), SHOPS[shop]]
        holes = generator.random(5) < 0.16
        cells.append(
            [None if hole and feature.nullable else cell for hole, feature, cell in zip(holes, FEATURES, row, strict=True)]
        )
        prices.append(age + 10 * city + shop)
    return cells, np.array(prices, dtype=np.float32)


Begin = Callable[..., Made]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)

    def begin(*words: str, change: Callable[[list[list[Any]]], None] = lambda requests: None) -> Made:
        cells, prices = rows_of_cells(300)
        prepared = prepared_of(tmp_path, Encoder(SCHEMA).encode(cells), prices, SCHEMA)
        numbers = prepared.row_numbers("validation")
        requests = [cells[number] for number in numbers]
        change(requests)
        kept = {"rows": list(range(len(requests))), "values": requests}
        statistics = {"inputs": INPUTS, "target": {"shift": 60.0, "scale": 25.0}}
        folder = prepared.folder
        (folder / Prepared.REQUESTS).write_bytes(msgspec.json.encode(kept))
        (folder / Prepared.STATISTICS).write_bytes(msgspec.json.encode(statistics))
        write_manifest(folder, msgspec.structs.replace(prepared.manifest, makes=records_of(folder)))
        return Made(
            tmp_path, Prepared.open(folder), ["model.name=mlp", "train.sanity=false", *words], Tracker("made", [Collected()])
        )

    yield begin
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("in_memory", ["true", "false"])
def test_messy_rows_are_trained_and_answered_over_http_as_they_were_evaluated(made: Begin, in_memory: str) -> None:
    run = made("train.epochs=12", "train.lr=1e-2", f"train.in_memory={in_memory}")
    run.run("train")
    run.run("export")
    deployable = deployable_of(run.prepared, run.model)
    assert isinstance(deployable.net, Embedded)
    inputs, prices = run.prepared.split("test")
    expected = answers(deployable, inputs)[:, 0]
    assert np.abs(expected - prices).mean() < 0.5 * np.abs(prices - prices.mean()).mean(), "it has learned"

    bundle = Bundle(run.root / "run" / "export" / "bundle")
    client = create_app(bundle).test_client()
    assert client.get("/readyz").status_code == 200, client.get("/readyz").text
    cells, _ = rows_of_cells(300)
    sent = [cells[number] for number in run.prepared.row_numbers("test")]
    records = [{feature.name: cell for feature, cell in zip(FEATURES, row, strict=True) if cell is not None} for row in sent]
    found = [row["value"] for row in client.post("/predict", json={"records": records}).get_json()["predictions"]]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_golden_requests_hold_cells_unseen_categories_and_missing_values(made: Begin) -> None:
    run = made()
    run.run("train")
    run.run("export")
    bundle = Bundle(run.root / "run" / "export" / "bundle")
    inputs = bundle.golden().inputs
    assert inputs[0] == run.prepared.requests[0]
    unseen, missing = inputs[-2:]
    assert unseen[2] not in CITIES
    assert unseen[4] not in SHOPS
    assert [cell is None for cell in missing] == [True, False, True, True, False]
    reference = json.loads(bundle.read("reference.json"))["inputs"]
    assert set(reference["city"]["categories"]) == set(CITIES)


def test_an_encoding_that_differs_from_training_is_refused_before_anything_is_written(made: Begin) -> None:
    def swap(requests: list[list[Any]]) -> None:
        requests[4][4] = SHOPS[(SHOPS.index(requests[4][4]) + 1) % 12]

    run = made(change=swap)
    run.run("train")
    with pytest.raises(GateRefused, match="validation row 4, sent as `inputs`, becomes another row .*column 'shop'"):
        run.run("export")
    assert not list((run.root / "run" / "export").iterdir())
