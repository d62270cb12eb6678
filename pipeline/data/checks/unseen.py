"""Categories that the train rows lack: all of them look alike to the model."""

import numpy as np

from pipeline.artifacts import Split
from pipeline.data.checks.subject import Subject
from pipeline.data.findings import Finding
from serving.columns import UNSEEN

_MOST = 0.05  # share of a split's rows
_OTHERS: tuple[Split, Split] = ("validation", "test")


def unseen(subject: Subject) -> list[Finding]:
    """Return a WARN for each column with many rows of validation, or test, whose category is rare or absent in train."""
    schema, fewest = subject.schema, subject.section.rare_below
    columns = [
        (feature, start) for feature, start in zip(schema.features, schema.starts, strict=True) if feature.kind == "category"
    ]
    findings = []
    for feature, start in columns:
        shares = {
            split: float((subject.inputs[split][:, start] == UNSEEN).mean()) for split in _OTHERS if len(subject.inputs[split])
        }
        many = {split: share for split, share in shares.items() if share > _MOST}
        if not many:
            continue
        split = max(many, key=lambda name: many[name])
        rows = subject.rows[split][np.flatnonzero(subject.inputs[split][:, start] == UNSEEN)]
        shown = " and ".join(f"{share:.1%} of {name} rows" for name, share in many.items())
        findings.append(
            Finding(
                check="unseen",
                verdict="WARN",
                text=f"column {feature.name!r} has a category that fewer than {fewest} train rows have in {shown}, such as "
                f"{subject.place(int(rows[0]))}; the model cannot tell these categories apart",
                advice=f"set data.columns.{feature.name}=ignore, or join its rare categories",
                column=feature.name,
                rows=tuple(int(row) for row in rows[:5]),
            )
        )
    passed = f"the categories of {len(columns)} columns are known from train rows, but for {_MOST:.0%} of the rows at most"
    return findings or [Finding(check="unseen", verdict="PASS", text=passed)]
