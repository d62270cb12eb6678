"""What every section of the config is made of."""

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
LARGEST_SEED = 2**32 - 1  # what NumPy takes


class Section(BaseModel):
    """A group of keys: frozen, strict about types (1 is a float, "1" is not), unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True, allow_inf_nan=False)


def listed(default: tuple[Any, ...], description: str) -> Any:
    """Return a field that holds a tuple and is written as a list, which is what YAML has."""
    return Field(default, strict=False, min_length=1, description=description)


def check_json(value: Any, path: str) -> None:
    """Raise ValueError for a value that would not come back from JSON as it was: a NaN, a date."""
    if isinstance(value, dict):
        for key, item in value.items():
            check_json(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_json(item, f"{path}[{index}]")
    elif not isinstance(value, str | int | float | bool | None) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(
            f"{path}: must be a finite number, a string, a boolean, null, or a list or mapping of those; it is {value!r}"
        )
