"""Numbers whose differences 32-bit floating point cannot hold, such as seconds since 1970, or identifiers of many digits."""

import numpy as np
from numpy.typing import NDArray

from pipeline.data.checks.subject import Subject
from pipeline.data.findings import Finding
from serving.schema import Feature

_STEPS = 2  # of float32: numbers that lie this close, typically, were rounded onto each other
_COARSE = 1e-3  # of the standard deviation: a coarser float32 keeps too few values apart


def precision(subject: Subject) -> list[Finding]:
    """Return a WARN for each column of numbers that float32 rounds to steps as wide as the numbers are apart."""
    schema = subject.schema
    columns = [
        (feature, start) for feature, start in zip(schema.features, schema.starts, strict=True) if feature.kind == "number"
    ]
    findings = [found for feature, start in columns if (found := _rounded(feature, subject.inputs["train"][:, start]))]
    passed = f"32-bit floating point holds the numbers of {len(columns)} columns"
    return findings or [Finding(check="precision", verdict="PASS", text=passed)]


def _rounded(feature: Feature, values: NDArray[np.float32]) -> Finding | None:
    distinct = np.unique(values[~np.isnan(values)])
    if len(distinct) < 2:
        return None
    largest = np.abs(distinct[[0, -1]]).max()
    step = float(np.spacing(np.median(np.abs(distinct))))
    apart = float(np.median(np.diff(distinct.astype(np.float64))))
    spread = float(np.nanstd(values.astype(np.float64)))
    whole = step <= 1 and not (distinct % 1).any()  # whole numbers below 2**24 are exact
    if whole or (apart > _STEPS * step and step <= _COARSE * spread):
        return None
    return Finding(
        check="precision",
        verdict="WARN",
        text=f"column {feature.name!r} goes up to {largest:.9g}, which 32-bit floating point holds in steps of {step:.3g}; "
        f"its values are {apart:.3g} apart (median): smaller differences are lost",
        advice=f"subtract its smallest value in the file, or set data.columns.{feature.name} to date or to ignore",
        column=feature.name,
    )
