"""Classes that have too few rows to learn, or to judge what was learned."""

import numpy as np

from pipeline.artifacts import SPLITS
from pipeline.data.checks.labels import Counts
from pipeline.data.checks.subject import Subject
from pipeline.data.findings import Finding

_NAMED = 5


def few_rows(subject: Subject, counts: Counts) -> list[Finding]:
    """Return a WARN for the classes with too few rows, and one for each split that lacks any."""
    schema = subject.schema
    if not schema.classes:
        return [Finding(check="few_rows", verdict="PASS", text=f"target {schema.target!r} has no classes that could be rare")]
    kind = "label" if schema.task == "multilabel" else "class"
    findings, fewest = [], subject.section.fewest_per_class
    total = np.sum([counts[split] for split in SPLITS], axis=0)
    rare = [(name, int(rows)) for name, rows in zip(schema.classes, total, strict=True) if rows < fewest]
    if rare:
        findings.append(
            Finding(
                check="few_rows",
                verdict="WARN",
                text=f"{kind} {_listed([f'{name!r} has {rows:,} row(s)' for name, rows in rare])}, fewer than "
                f"prepare.fewest_per_class={fewest}",
                advice=f"add rows of it, join it with another {kind}, or leave it out",
                column=schema.target,
            )
        )
    for split in SPLITS:
        absent = [repr(name) for name, rows in zip(schema.classes, counts[split], strict=True) if rows == 0]
        if absent:
            cost = "it cannot be learned" if split == "train" else f"{split} metrics say nothing of it"
            findings.append(
                Finding(
                    check="few_rows",
                    verdict="WARN",
                    text=f"{kind} {_listed(absent)} has no row in {split}, so {cost}",
                    advice="add rows, or split so that each class is in each split (prepare.split=stratified)",
                    column=schema.target,
                )
            )
    passed = f"each {kind} has {int(total.min()):,} rows or more, and is in each split"
    return findings or [Finding(check="few_rows", verdict="PASS", text=passed, column=schema.target)]


def _listed(texts: list[str]) -> str:
    return ", ".join(texts[:_NAMED]) + (f" and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else "")
