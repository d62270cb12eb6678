"""The data sets of scikit-learn. All but california_housing ship inside it, so nothing is downloaded."""

from typing import Any

import numpy as np

from pipeline.config.data_sections import BuiltinData, DataTask
from pipeline.data.sources import Opened, downloads
from pipeline.data.table import Arrays

_CLASSES = {"breast_cancer": "diagnosis", "wine": "cultivar", "iris": "species"}
_HOUSING_FILE = "cal_housing_py3.pkz"  # how scikit-learn keeps it


def open_builtin(section: BuiltinData) -> Opened:
    """Return the rows of a built-in set, raw and in their own units: digits as Arrays, the others as a Table."""
    match section.source:
        case "digits":
            return _digits()
        case "diabetes":
            return _diabetes()
        case "california_housing":
            return _california_housing()
        case name:
            return _classes(name, _CLASSES[name])


def _digits() -> Opened:
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = loaded.images.astype(np.float32)  # (rows, 8, 8), 0 to 16: no picture file has that range
    classes = tuple(str(label) for label in loaded.target_names)
    arrays = Arrays(images, loaded.target.astype(np.int64), "classification", "digit", "digits", classes)
    return Opened(arrays, ("digit",), "classification")


def _classes(name: str, target: str) -> Opened:
    import sklearn.datasets

    loaded = getattr(sklearn.datasets, f"load_{name}")()
    labels = [str(loaded.target_names[index]) for index in loaded.target]
    return _table(loaded, name, {target: labels}, task="classification")


def _diabetes() -> Opened:
    from sklearn.datasets import load_diabetes

    # scaled=False: a client sends an age in years, not a number that was normalized with every row of the set, test rows too.
    loaded = load_diabetes(scaled=False)
    return _table(loaded, "diabetes", {"progression": loaded.target}, task="regression")


def _california_housing() -> Opened:
    from sklearn.datasets import fetch_california_housing

    # Digests first: scikit-learn keeps a pickle.
    with downloads.fetching("california_housing", key="data.source"):
        loaded = fetch_california_housing(data_home=downloads.DOWNLOADS, n_retries=1)
    downloads.pin("california_housing", [_HOUSING_FILE])
    return _table(loaded, "california_housing", {"MedHouseVal": loaded.target}, task="regression")


def _table(loaded: Any, name: str, target: dict[str, Any], *, task: DataTask) -> Opened:
    """Return a set of scikit-learn's as a table. loaded: has (rows, features) `data`. target: its column's name and values."""
    from pipeline.data.sources.parquet import from_frame

    features = {str(column): loaded.data[:, index] for index, column in enumerate(loaded.feature_names)}
    return Opened(from_frame({**features, **target}, name), tuple(target), task)
