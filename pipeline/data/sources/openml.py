"""Tables of openml.org, through scikit-learn's fetcher, kept below `data/downloads` with their digests.

J. Vanschoren, J. N. van Rijn, B. Bischl, L. Torgo: OpenML: networked science in machine learning. SIGKDD Explorations, 2013.
"""

import gzip
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import msgspec

from pipeline.config.data_sections import OpenmlData
from pipeline.data.findings import Finding
from pipeline.data.sources import Opened, downloads, names_of
from pipeline.data.sources.header import check_target
from pipeline.errors import DataError
from serving.errors import first_line

if TYPE_CHECKING:
    import pandas as pd

_API = "openml/openml.org/api/v1/json/data"


def open_openml(section: OpenmlData) -> Opened:
    """Return the table of an id, or of a name and version, without the columns that its author marked as no data.

    Raises DataError where there is no such set, where it is no dense table, where it changed since it was fetched first, and
    where there is no network and no copy.
    """
    from pipeline.data.sources.parquet import from_frame

    name = _name(section)
    with downloads.fetching(name, key="data.dataset") as warned:
        details = _fetch(section, nrows=0).details  # every file is kept by now
        features = f"{_API}/features/{details['id']}.gz"
        nominal = _nominal(features)
        bunch = _fetch(section, dtype=dict.fromkeys(nominal.values(), "str"))
    data = urlparse(details["url"]).path.lstrip("/")
    downloads.pin(name, [f"openml/openml.org/{data}.gz", features])
    target = _target(section, bunch)
    advice = "set data.version, or data.dataset to an id"
    findings = tuple(Finding(check="openml", verdict="WARN", text=line, advice=advice) for line in warned)
    table = from_frame(_without_quotes(bunch.frame, nominal), f"openml.org/d/{details['id']}")
    return Opened(replace(table, findings=(*table.findings, *findings)), target, section.task, section.columns)


def _name(section: OpenmlData) -> str:
    """Return what files and messages call the set: openml-61, openml-iris, openml-iris-v1."""
    if isinstance(section.dataset, int) and section.version is not None:
        raise DataError(
            f"data.version: {section.version} is for a named data set, and an id such as {section.dataset} has one version; "
            "set it to null"
        )
    wanted = re.sub(r"[^\w.-]", "_", str(section.dataset).lower())
    return f"openml-{wanted}" + (f"-v{section.version}" if section.version is not None else "")


def _fetch(section: OpenmlData, **reading: Any) -> Any:
    """Return scikit-learn's Bunch. reading: arguments of pandas.read_csv."""
    from sklearn.datasets import fetch_openml

    if isinstance(section.dataset, int):
        wanted: dict[str, Any] = {"data_id": section.dataset}
    else:
        wanted = {"name": section.dataset, "version": section.version or "active"}
    try:
        return fetch_openml(
            **wanted, as_frame=True, parser="auto", data_home=downloads.DOWNLOADS, n_retries=1, read_csv_kwargs=reading
        )
    except (ValueError, KeyError) as error:  # scikit-learn's refusals: no such set, a sparse one, targets with missing cells
        raise DataError(f"data.dataset: {section.dataset!r} of openml.org cannot be used: {first_line(error)}") from error


def _target(section: OpenmlData, bunch: Any) -> tuple[str, ...]:
    known = [str(column) for column in bunch.frame.columns]
    check_target(known, section.target, origin=f"{section.dataset} of openml.org")
    if section.target is not None:
        return names_of(section.target)
    if not bunch.target_names:
        raise DataError(
            f"data.target: {section.dataset!r} of openml.org names no target; choose one of its columns: {', '.join(known)}"
        )
    return tuple(bunch.target_names)


def _nominal(features: str) -> dict[str, int]:
    """Return name and position of each nominal column, from what is kept of the features.

    They are read as text: categories such as 1 and 2 are no numbers, and scikit-learn 1.9.1 does not take those that
    pandas 3.1 makes of them (its pull request 34902).
    """
    with gzip.open(downloads.DOWNLOADS / features) as file:
        columns = msgspec.json.decode(file.read())["data_features"]["feature"]
    return {column["name"]: index for index, column in enumerate(columns) if column["data_type"] == "nominal"}


def _without_quotes(frame: "pd.DataFrame", nominal: Iterable[str]) -> "pd.DataFrame":
    """Remove the single quotes that ARFF puts around nominal values."""
    there = [name for name in nominal if name in frame.columns]
    return frame.assign(**{name: frame[name].str.replace(r"^'(.*)'$", r"\1", regex=True) for name in there})
