"""Subjects of known rows, for the report's tests."""

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS, Split
from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.checks.subject import Subject
from serving.schema import Feature, Schema

SHARES = {"train": (0.0, 0.65), "validation": (0.65, 0.8), "test": (0.8, 1.0)}


def subject(schema: Schema, inputs: NDArray[np.float32], targets: NDArray[np.generic]) -> Subject:
    """Split rows in their order; inputs (rows, *schema.shape)."""
    cuts: dict[Split, slice] = {}
    for split in SPLITS:
        low, high = SHARES[split]
        cuts[split] = slice(round(low * len(inputs)), round(high * len(inputs)))
    numbers = np.arange(len(inputs))
    return Subject(
        schema=schema,
        section=PrepareConfig(),
        inputs={split: inputs[cut] for split, cut in cuts.items()},
        targets={split: targets[cut] for split, cut in cuts.items()},
        rows={split: numbers[cut] for split, cut in cuts.items()},
        groups={split: numbers[cut] for split, cut in cuts.items()},
        counts={split: len(inputs[cut]) for split, cut in cuts.items()},
        place=lambda row: f"row {row}",
    )


def table(
    features: tuple[Feature, ...], inputs: NDArray[np.float32], targets: NDArray[np.generic], *, classes: tuple[str, ...] = ()
) -> Subject:
    """Return a table's subject; with classes it is a classification."""
    schema = Schema(
        task="classification" if classes else "regression",
        kind="table",
        shape=inputs.shape[1:],
        target="y",
        minimum=float(np.nanmin(inputs)),
        maximum=float(np.nanmax(inputs)),
        classes=classes,
        features=features,
    )
    return subject(schema, inputs, targets)


def mixed(rows: int = 2000) -> Subject:
    """Return one column of each kind: price (heavy-tailed), city (follows the class), member, day, noise, constant."""
    random = np.random.default_rng(0)
    target = random.choice(3, size=rows, p=[0.7, 0.25, 0.05])
    price = np.exp(random.normal(size=rows) * 1.5 + target)
    price[random.random(rows) < 0.1] = np.nan
    city = np.where(random.random(rows) < 0.9, target + 1, random.integers(0, 4, rows))
    member = (random.random(rows) < 0.3).astype(float)
    day = 19_000 + np.arange(rows) // 10
    second = random.integers(0, 86_400, rows)
    noise = random.normal(size=rows)
    inputs = np.stack([price, city, member, day, second, noise, np.full(rows, 7.0)], axis=1).astype(np.float32)
    features = (
        Feature("price", 0, 100, nullable=True),
        Feature("city", 0, 3, "category", ("Bern", "Zürich", "Rom")),
        Feature("member", 0, 1, "boolean", ("no", "yes")),
        Feature("day", 19_000, 19_200, "date"),
        Feature("noise", -4, 4),
        Feature("constant", 7, 7),
    )
    return table(features, inputs, target.astype(np.int64), classes=("small", "medium", "large"))


def pictures(rows: int = 120, shape: tuple[int, ...] = (3, 12, 16)) -> Subject:
    """Return pictures of two classes, of which the second is brighter."""
    random = np.random.default_rng(0)
    target = random.integers(0, 2, rows)
    inputs = random.uniform(0, 100, (rows, *shape)) + 100 * target.reshape(-1, *(1 for _ in shape))
    schema = Schema(
        task="classification",
        kind="image",
        shape=shape,
        target="label",
        minimum=0,
        maximum=200,
        classes=("dark", "bright <b>"),
        picture="RGB",
    )
    return subject(schema, inputs.astype(np.float32), target.astype(np.int64))
