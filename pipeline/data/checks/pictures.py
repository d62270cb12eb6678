"""Pictures that show nothing."""

from pipeline.artifacts import SPLITS
from pipeline.data.checks.subject import Subject
from pipeline.data.findings import Finding

_NAMED = 3


def pictures(subject: Subject) -> list[Finding]:
    """Return a WARN for pictures whose pixels are all equal, with the places of the first ones."""
    plain: list[int] = []
    for split in SPLITS:
        flat = subject.inputs[split].reshape(len(subject.inputs[split]), -1)
        plain += subject.rows[split][flat.min(axis=1) == flat.max(axis=1)].tolist() if len(flat) else []
    total = sum(len(rows) for rows in subject.rows.values())
    if not plain:
        return [Finding(check="broken_images", verdict="PASS", text=f"each of {total:,} pictures has more than one color")]
    plain.sort()
    shown = ", ".join(subject.place(row) for row in plain[:_NAMED])
    more = f" and {len(plain) - _NAMED:,} more" if len(plain) > _NAMED else ""
    return [
        Finding(
            check="broken_images",
            verdict="WARN",
            text=f"{len(plain):,} of {total:,} pictures are of one color all over: {shown}{more}",
            advice="look at them; remove those that show nothing",
            rows=tuple(plain[:5]),
        )
    ]
