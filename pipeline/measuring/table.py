"""The table that people read in the terminal."""

from collections.abc import Sequence

from pipeline.measuring.rows import Benchmark, Row

_MISSING = "-"


def table(benchmark: Benchmark) -> list[str]:
    """Return a line for each artifact below a head, the baseline first, and a line with the conditions."""
    head = (
        "artifact",
        benchmark.headline,
        "drop <=",
        "p50 ms",
        "p95 ms",
        "x eager",
        "rows/s",
        "at batch",
        "KB",
        "MB mem",
        "load s",
        "",
    )
    lines = [head, *(_cells(row) for row in (benchmark.baseline, *benchmark.rows))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rows = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    facts = benchmark.conditions
    load = facts["load_average"]
    busy = "" if load is None else f", load {load}" + (" (busy: trust ratios)" if load > facts["cores"] else "")
    threads = benchmark.baseline.threads
    under = f"{benchmark.rows_scored} validation rows; {facts['cpu']}, {facts['cores']} cores{busy}, threads {threads}"
    return [*rows, under]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *numbers = [
        cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in _numbered(cells, widths)
    ]
    return [first, *numbers[:-1], cells[-1]]


def _numbered(cells: Sequence[str], widths: Sequence[int]) -> list[tuple[int, tuple[str, int]]]:
    return list(enumerate(zip(cells, widths, strict=True)))


def _cells(row: Row) -> tuple[str, ...]:
    best = row.best_throughput
    return (
        row.file,
        _number(row.metric, ".4f"),
        _number(row.drop.bound if row.drop else None, ".4f"),
        _number(row.latency.p50_ms, ".4g"),
        _number(row.latency.p95_ms, ".4g"),
        _number(row.latency.times_faster, ".2f"),
        _number(best.rows_per_s if best else None, ",.0f"),
        str(best.batch_size) if best else _MISSING,
        _number(row.bytes / 1e3 if row.bytes is not None else None, ",.1f"),
        _number(row.memory.peak_bytes / 1e6 if row.memory.peak_bytes else None, ",.0f"),
        _number(row.start.process_s, ".2f"),
        _remark(row),
    )


def _number(value: float | None, form: str) -> str:
    return _MISSING if value is None else format(value, form)


def _remark(row: Row) -> str:
    if row.failed is not None:
        return f"failed: {row.failed[:80]}"
    if row.nonfinite_rows:
        return f"{row.nonfinite_rows} rows without a finite answer"
    shaky = ["batch 1"] if row.latency.unstable else []
    shaky += [f"batch {one.batch_size}" for one in row.throughput if one.unstable and one.batch_size > 1]
    return f"unstable at {', '.join(shaky)}" if shaky else ""
