"""From day numbers to calendar values with tensors, inside the exported graph.

Exact in float32 for the years 1 to 9999: every number is an integer below 2^23 or has a half added before it is divided, so
that no rounding, not even of a device that multiplies by a reciprocal, moves a quotient over the integer below it.
"""

import math

import torch
from torch import Tensor

_DAY_S, _HALF = 86_400, 0.5
_TO_MARCH_OF_YEAR_0 = 719_468  # days from 0000-03-01 to 1970-01-01
_ERA_DAYS, _ERA_YEARS = 146_097, 400  # after which the Gregorian calendar repeats, on the same weekday


def civil_from_days(days: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return year, month (1 to 12), day of the month and weekday (0 is Monday) of days since 1970-01-01.

    days: float32 integers, any shape. Method: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2013),
    civil_from_days: years begin in March, so that the leap day is the last.
    """
    since = days + _TO_MARCH_OF_YEAR_0
    era = _divided(since, _ERA_DAYS)
    of_era = since - era * _ERA_DAYS  # 0 to 146096
    year = _divided(of_era - _divided(of_era, 1460) + _divided(of_era, 36_524) - _divided(of_era, 146_096), 365)  # 0 to 399
    of_year = of_era - (365 * year + _divided(year, 4) - _divided(year, 100))  # 0 to 365
    shifted = _divided(5 * of_year + 2, 153)  # 0 is March
    day = of_year - _divided(153 * shifted + 2, 5) + 1
    month = torch.where(shifted < 10, shifted + 3, shifted - 9)
    weekday = of_era + 2 - 7 * _divided(of_era + 2, 7)
    return year + era * _ERA_YEARS + (month <= 2).to(days.dtype), month, day, weekday


def circle(values: Tensor, period: float) -> tuple[Tensor, Tensor]:
    """Return sine and cosine of a value that comes back after `period`: its end is next to its beginning."""
    angle = values * (2 * math.pi / period)
    return torch.sin(angle), torch.cos(angle)


def day_parts(days: Tensor, seconds: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """Return the numbers of each part of a date, by the part's name.

    days: since 1970-01-01; seconds: of the day; the same shape as every result. `hour` is the time of the day, to the second.
    """
    year, month, day, weekday = civil_from_days(days)
    return {
        "elapsed": (days,),
        "year": (year,),
        "month": circle(month - 1, 12),
        "day": (day,),
        "weekday": circle(weekday, 7),
        "hour": circle(seconds, _DAY_S),
    }


def _divided(numbers: Tensor, by: int) -> Tensor:
    """Return the integer quotient of integers from 0 on."""
    return torch.floor((numbers + _HALF) / by)
