"""prepare: a source -> Prepared."""

from pathlib import Path

import msgspec

from pipeline.artifacts import Prepared
from pipeline.config import Config
from pipeline.data.prepare import Summary, prepare
from pipeline.data.profile.profile import profile
from pipeline.reporting.data_figures import example_pictures
from pipeline.reporting.data_page import data_page
from pipeline.stages import Outcome
from pipeline.tracking import Tracker
from serving.files import write_atomic


def run(config: Config, *, out: Path, tracker: Tracker) -> Outcome:
    """Read, check, split, describe and measure the rows of `data`; inputs are stored raw, the model normalizes them."""
    summary = prepare(config.data, config.prepare, out=out, tracker=tracker)
    tracker.event("working_on", what="drawing the report")
    _report(summary, out)
    tracker.event("split", **summary.counts)
    warnings = [finding.line for finding in summary.findings if finding.verdict != "PASS"]
    tracker.event("data_checks", warnings=warnings)
    rows = " + ".join(f"{count:,} {split}" for split, count in summary.counts.items())
    shape = "x".join(map(str, summary.schema.shape)) + (" values" if len(summary.schema.shape) == 1 else "")
    told = f"{summary.origin}: {rows} rows of {shape}"
    if warnings:
        told += f"; {len(warnings)} warning(s), see {Prepared.PAGE}"
    return Outcome(told, notes={"rows": summary.counts, "warnings": len(warnings)})


def _report(summary: Summary, out: Path) -> None:
    described = profile(
        summary.subject,
        findings=summary.findings,
        ignored=summary.ignored,
        duplicates=summary.duplicates,
        origin=summary.origin,
    )
    write_atomic(out / Prepared.REPORT, msgspec.json.format(msgspec.json.encode(described), indent=2))
    write_atomic(out / Prepared.PAGE, data_page(described, example_pictures(summary.subject)))
