"""A CSV with all that real ones have, of any length, whose target can be learned: for tests of everything that reads tables."""

import csv
import random
import unicodedata
from datetime import date, timedelta
from pathlib import Path

HEADER = ("customer_id", "age", "income", "city", "plan", "active", "joined", "visits", "note", "region", "churned")
CITIES = ("Bern", "Zürich", "Genève", "Basel, Stadt", 'Saint-Gall "SG"', "大阪")
PLANS = ("free", "pro", "team")
WORDS = ["the", "a", "service", "price", "slow", "fast", "helpful", "never", "always", "again", "bill", "line", "café"]
DUPLICATES = 0.03  # share of rows that repeat an earlier one


def messy_rows(rows: int, *, seed: int = 0) -> list[list[str]]:
    """Return rows of texts as a spreadsheet would write them.

    customer_id counts; age and income lack some cells; city has quoted commas, quotes and two spellings (NFC and NFD) of the
    same letters; active is yes or no; joined is an ISO date; note is free text with line breaks; region is almost always
    missing. churned (yes/no, about one in eight is yes) follows income, plan and active, with a little noise.
    """
    chance = random.Random(seed)
    made: list[list[str]] = []
    while len(made) < rows:
        if len(made) > 10 and chance.random() < DUPLICATES:
            made.append(list(chance.choice(made)))
        else:
            made.append(_row(len(made), chance))
    return made


def write_messy(path: Path, rows: int = 600, *, seed: int = 0, delimiter: str = ",") -> Path:
    """Write the rows of `messy_rows` below a header; return the path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(messy_rows(rows, seed=seed))
    return path


def _row(number: int, chance: random.Random) -> list[str]:
    age, income = chance.randint(18, 90), round(chance.lognormvariate(8.5, 0.5), 2)
    plan, active = chance.choice(PLANS), chance.random() < 0.7
    city = chance.choice(CITIES)
    if chance.random() < 0.3:
        city = unicodedata.normalize("NFD", city)
    risk = (income < 4_200) + (plan == "free") + (not active)
    churned = risk == 3 or (risk == 2 and chance.random() < 0.15) or chance.random() < 0.01
    note = " ".join(chance.choices(WORDS, k=chance.randint(8, 16)))
    note = note.replace(" never ", ",\nnever ", 1)
    cells = {
        "customer_id": str(100_000 + number),
        "age": "" if chance.random() < 0.08 else str(age),
        "income": chance.choice(("NA", "", "n/a")) if chance.random() < 0.05 else f"{income:.2f}",
        "city": "" if chance.random() < 0.04 else city,
        "plan": plan,
        "active": "" if chance.random() < 0.02 else chance.choice(("yes", "Yes")) if active else "no",
        "joined": (date(2019, 1, 1) + timedelta(days=chance.randrange(2_000))).isoformat(),
        "visits": str(chance.randint(0, 40)),
        "note": note,
        "region": "south" if chance.random() < 0.02 else "",
        "churned": "yes" if churned else "no",
    }
    return [cells[name] for name in HEADER]
