"""What every section of the config is made of."""

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
