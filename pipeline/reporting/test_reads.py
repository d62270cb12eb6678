"""The ledger of a test split: after many looks at the same rows their number is optimistic, so looks are counted."""

from datetime import UTC, datetime

import msgspec

from pipeline.artifacts import Model, Prepared


def record_read(prepared: Prepared, model: Model, *, artifact: str | None = None) -> int:
    """Append to the ledger of the test split, before it is read, and return the number of reads by all runs so far.

    artifact: sha256 of the file whose answers are scored; None: the model's own.
    """
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "run": model.folder.parent.name, "model": model.digest}
    if artifact is not None:
        line["artifact"] = artifact
    prepared.test_reads.parent.mkdir(parents=True, exist_ok=True)
    with prepared.test_reads.open("ab+") as ledger:
        ledger.write(msgspec.json.encode(line) + b"\n")
        ledger.seek(0)
        return sum(1 for _ in ledger)
