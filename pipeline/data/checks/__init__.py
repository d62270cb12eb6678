"""What is wrong with split rows, and what to do about it: one file for each kind of check.

findings = check_rows(subject, classes=counts, boundary_day=19_800.5)
findings = enforced(findings, config.prepare.allow)    # raises DataError

A check that found nothing says so with a PASS, so that the report shows what was looked at.
"""

from datetime import UTC, date, datetime

from pipeline.data.checks.conflicting_labels import conflicting_labels
from pipeline.data.checks.few_rows import few_rows
from pipeline.data.checks.future_dates import future_dates
from pipeline.data.checks.imbalance import imbalance
from pipeline.data.checks.labels import Counts, counts_of
from pipeline.data.checks.leak import leak
from pipeline.data.checks.pictures import pictures
from pipeline.data.checks.precision import precision
from pipeline.data.checks.shift import shift
from pipeline.data.checks.subject import Subject
from pipeline.data.checks.unseen import unseen
from pipeline.data.findings import Finding


def check_rows(
    subject: Subject, *, classes: Counts | None = None, boundary_day: float | None = None, today: date | None = None
) -> list[Finding]:
    """Return what every check says of split rows.

    classes: rows of each class, or label, in all rows of each split, where the subject holds a sample. boundary_day: of a split
    by time, when validation begins, in days since 1970-01-01. today: dates after it are in the future; None: this day.
    """
    counts = counts_of(subject) if classes is None else classes
    findings = [*few_rows(subject, counts), *imbalance(subject, counts), *conflicting_labels(subject), *shift(subject)]
    if subject.schema.kind == "image":
        return findings + pictures(subject)
    day = today or datetime.now(UTC).date()
    dates = future_dates(subject, boundary_day=boundary_day, today=day)
    return [*findings, *leak(subject), *unseen(subject), *dates, *precision(subject)]
