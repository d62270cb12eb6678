"""Where rows come from: each source returns a `Table` of raw values in their own units.

The built-in sets ship inside scikit-learn, so nothing is downloaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.schema import Feature, Schema, Task


@dataclass(frozen=True)
class Rows:
    """All rows of a source.

    inputs: (rows, *shape) float32. targets: (rows,) int64 indices into `classes`, or float32 values in the target's unit.
    `features` names the columns of a table; images have none.
    """

    inputs: NDArray[np.float32]
    targets: NDArray[Any]
    task: Task
    target: str
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()

    def schema(self, train: NDArray[np.float32]) -> Schema:
        """Describe a row, with the ranges seen in the train rows."""
        low, high = train.min(axis=0).reshape(-1), train.max(axis=0).reshape(-1)
        columns = zip(self.features, low.tolist(), high.tolist(), strict=True) if self.features else ()
        return Schema(
            task=self.task,
            kind="table" if self.features else "image",
            shape=self.inputs.shape[1:],
            target=self.target,
            minimum=float(low.min()),
            maximum=float(high.max()),
            classes=self.classes,
            features=tuple(Feature(name, minimum, maximum) for name, minimum, maximum in columns),
        )


def load(source: str) -> Rows:
    """Return the rows of a source named in `data.source`."""
    return SOURCES[source]()


def _digits() -> Rows:
    from sklearn.datasets import load_digits

    loaded = load_digits()
    classes = tuple(str(label) for label in loaded.target_names)
    return Rows(loaded.images.astype(np.float32), loaded.target.astype(np.int64), "classification", "digit", classes)


def _classes(name: str, target: str) -> Callable[[], Rows]:
    def load_table() -> Rows:
        import sklearn.datasets

        loaded = getattr(sklearn.datasets, f"load_{name}")()
        return Rows(
            loaded.data.astype(np.float32),
            loaded.target.astype(np.int64),
            "classification",
            target,
            tuple(str(label) for label in loaded.target_names),
            tuple(str(column) for column in loaded.feature_names),
        )

    return load_table


def _diabetes() -> Rows:
    from sklearn.datasets import load_diabetes

    # scaled=False: a client sends an age in years, not a number that was normalized with every row of the set, test rows too.
    loaded = load_diabetes(scaled=False)
    features = tuple(str(column) for column in loaded.feature_names)
    return Rows(loaded.data.astype(np.float32), loaded.target.astype(np.float32), "regression", "progression", (), features)


SOURCES: dict[str, Callable[[], Rows]] = {
    "digits": _digits,
    "breast_cancer": _classes("breast_cancer", "diagnosis"),
    "wine": _classes("wine", "cultivar"),
    "iris": _classes("iris", "species"),
    "diabetes": _diabetes,
}
