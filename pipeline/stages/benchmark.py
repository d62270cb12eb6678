"""benchmark: Prepared + Model + Exported + Quantized -> Benchmarked."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from pipeline.artifacts import Benchmarked, Exported, Files, Listed, Model, Prepared, Quantized
from pipeline.config import Config
from pipeline.config.choice_sections import Provider
from pipeline.exporting.formats import RUNTIME
from pipeline.exporting.parity import Tolerance
from pipeline.measuring.conditions import conditions, load_average
from pipeline.measuring.orders import Kept, Load
from pipeline.measuring.providers import providers_for, providers_of
from pipeline.measuring.rows import BASELINE, Benchmark, Row, name_of
from pipeline.measuring.seat import Plan, Subject
from pipeline.measuring.sitting import sit
from pipeline.measuring.table import table
from pipeline.reporting.pareto import Point, pareto_figure
from pipeline.stages import Outcome
from pipeline.tracking import Tracker
from serving.files import write_atomic


def run(
    config: Config,
    prepared: Prepared,
    model: Model,
    exported: Exported,
    quantized: Quantized | None,
    *,
    out: Path,
    tracker: Tracker,
) -> Outcome:
    """Measure every artifact and the float model in turns, each in a process of its own, and write `benchmark.json`."""
    section, schema = config.benchmark, prepared.schema
    _, targets = prepared.split("validation")
    facts = conditions()
    providers = providers_of(config)
    plan = Plan(**(section.model_dump(exclude={"precisions", "providers"}) | {"seed": config.seed}))
    subjects = [_baseline(prepared, model, section.threads)]
    for made in (exported, quantized):
        if made is not None:
            subjects += _subjects(made, prepared, section.precisions, section.threads, providers)

    with TemporaryDirectory(dir=out) as scratch:
        rows = sit(
            subjects,
            plan,
            targets=targets,
            schema=schema,
            tolerance=msgspec.convert(exported.listed[0].parity["tolerance"], Tolerance),
            scratch=Path(scratch),
            show=_Shown(tracker),
        )
    facts |= {"load_average_after": load_average(), "plan": msgspec.to_builtins(plan)}
    facts |= {"precisions": section.precisions, "providers": providers}
    benchmark = Benchmark(conditions=facts, headline=schema.headline, rows_scored=len(targets), baseline=rows[0], rows=rows[1:])
    write_atomic(out / Benchmarked.BENCHMARK, msgspec.json.format(msgspec.json.encode(benchmark), indent=2))
    points = [point for row in rows if (point := _point(row))]
    pareto_figure(out / "pareto.png", points, metric=schema.headline, title=_title(benchmark))

    metrics = {f"benchmark/{row.file}/{name}": value for row in rows for name, value in _numbers(row)}
    tracker.metrics(metrics)
    tracker.images({"pareto": "pareto.png"}, step=0)
    tracker.event("table", lines=table(benchmark))
    shaky = any(row.failed is not None or row.latency.unstable for row in benchmark.rows)
    return Outcome(_summary(benchmark), metrics=metrics, notes={"again": shaky})


class _Shown:
    """Progress, told as another work begins and as it goes on."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker, self._what = tracker, ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self._what = what
            self._tracker.event("working_on", what=what)
        self._tracker.progress(done, total)


def _baseline(prepared: Prepared, model: Model, threads: int) -> Subject:
    checkpoint = model.manifest.makes[Model.BEST]
    load = Load(
        engine="eager",
        artifact=_kept(model, Model.BEST),
        schema=prepared.schema,
        threads=threads,
        inputs=str(_path(prepared, "validation.inputs.npy")),
        statistics=_kept(prepared, Prepared.STATISTICS),
        source=_kept(model, Model.SOURCE) if Model.SOURCE in model.manifest.makes else None,
    )
    return Subject(BASELINE, model.variant, "eager", "fp32", checkpoint.sha256, checkpoint.bytes, load)


def _subjects(
    made: Files, prepared: Prepared, precisions: tuple[str, ...], threads: int, providers: tuple[Provider, ...]
) -> Iterator[Subject]:
    for listed in made.listed:
        if listed.precision in precisions:
            record = made.manifest.makes[listed.file]
            for provider in providers_for(listed, providers):
                yield Subject(
                    name_of(listed.file, provider),
                    listed.variant,
                    listed.format,
                    listed.precision,
                    record.sha256,
                    record.bytes,
                    _load(made, listed, prepared, threads, provider),
                    proven=_is_proven(listed),
                    beside=None if provider == "cpu" else listed.file,
                )


def _is_proven(listed: Listed) -> bool:
    """Return whether export has proven that this file answers like the float model: by parity, on every validation row."""
    return (listed.variant, listed.precision) == (Model.variant, "fp32") and listed.parity.get("passed") is True


def _load(made: Files, listed: Listed, prepared: Prepared, threads: int, provider: Provider) -> Load:
    return Load(
        engine=RUNTIME[listed.format],
        artifact=_kept(made, listed.file),
        schema=prepared.schema,
        threads=threads,
        inputs=str(_path(prepared, "validation.inputs.npy")),
        provider=provider,
    )


def _kept(made: Prepared | Model | Files, name: str) -> Kept:
    return Kept(str(_path(made, name)), made.manifest.makes[name])


def _path(made: Prepared | Model | Files, name: str) -> Path:
    return (made.folder / name).absolute()


def _numbers(row: Row) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a row that were measured, by the names that stores show them under."""
    best = row.best_throughput
    found: dict[str, float | None] = {
        "metric": row.metric,
        "drop": row.drop.drop if row.drop else None,
        "drop_bound": row.drop.bound if row.drop else None,
        "p50_ms": row.latency.p50_ms,
        "p95_ms": row.latency.p95_ms,
        "p99_ms": row.latency.p99_ms,
        "times_faster": row.latency.times_faster,
        "rows_per_s": best.rows_per_s if best else None,
        "bytes": row.bytes,
        "peak_memory_bytes": row.memory.peak_bytes,
        "start_s": row.start.process_s,
        "load_s": row.start.load_s,
    }
    yield from ((name, value) for name, value in found.items() if value is not None)


def _point(row: Row) -> Point | None:
    if row.metric is None or row.latency.p50_ms is None or row.bytes is None:
        return None
    return Point(
        name=row.file,
        metric=row.metric,
        latency_ms=row.latency.p50_ms,
        bytes=row.bytes,
        variant=row.variant,
        precision=row.precision,
        baseline=row.file == BASELINE,
        unstable=row.latency.unstable,
    )


def _title(benchmark: Benchmark) -> str:
    facts = f"{benchmark.rows_scored} validation rows, batch 1, threads {benchmark.baseline.threads}"
    return f"{facts}\n{benchmark.conditions['cpu']}"


def _summary(benchmark: Benchmark) -> str:
    rows = benchmark.rows
    measured = [row for row in rows if row.failed is None and row.latency.p50_ms is not None]
    failed = len([row for row in rows if row.failed is not None])
    shaky = len([row for row in measured if row.latency.unstable])
    count = sum(row.provider == "cpu" for row in rows)
    words = f"{count} artifact{'s' * (count != 1)} and the float model measured on {benchmark.rows_scored} validation rows"
    further = dict.fromkeys(row.provider for row in rows if row.provider != "cpu")
    words += f", ONNX also on {' and '.join(further)}" if further else ""
    if measured:
        fastest = min(measured, key=lambda row: row.latency.p50_ms or 0.0)
        faster = f", {fastest.latency.times_faster:.1f} times eager" if fastest.latency.times_faster else ""
        words += f"; fastest: {fastest.file}, p50 {fastest.latency.p50_ms:.3g} ms{faster}"
    return words + (f"; {failed} failed" if failed else "") + (f"; {shaky} unstable at batch 1" if shaky else "")
