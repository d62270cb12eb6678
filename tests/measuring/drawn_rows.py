"""Rows as a benchmark could have written them, whole or with anything missing."""

import math

import msgspec
from hypothesis import strategies as st

from pipeline.config.choice_sections import SelectConfig
from pipeline.measuring.rows import ClassRecall, Latency, Memory, Row, Throughput
from pipeline.metrics.paired import PairedDrop

CLASSES = ("cat", "dog")


def drop_of(bound: float, *, value: float = 0.98) -> PairedDrop:
    return PairedDrop(
        metric="accuracy",
        value=value,
        before=0.98,
        drop=0.98 - value,
        bound=bound,
        confidence=0.95,
        method="adjusted Wald for paired proportions",
        rows=400,
        lost=2,
        gained=1,
    )


def row(
    file: str = "a.onnx",
    *,
    p50: float = 1.0,
    p95: float = 2.0,
    rate: float = 1000.0,
    size: int = 1000,
    memory: int = 50_000_000,
    metric: float = 0.98,
    bound: float = 0.005,
    recalls: tuple[float, float] = (0.97, 0.99),
) -> Row:
    """Return a row that lacks nothing."""
    return Row(
        file=file,
        variant="train",
        format="onnx",
        precision="fp32",
        sha256="0" * 64,
        bytes=size,
        threads=1,
        memory=Memory(peak_bytes=memory),
        latency=Latency(p50_ms=p50, p95_ms=p95, p99_ms=2 * p95, times_faster=5.0 / p50, calls=300, unstable=False),
        throughput=[
            Throughput(batch_size=32, rows_per_s=rate, times_faster=rate / 200, baseline_rows_per_s=200.0, unstable=False)
        ],
        nonfinite_rows=0,
        metric=metric,
        drop=drop_of(bound, value=metric),
        classes=[
            ClassRecall(label=label, support=40, recall=recall, recall_before=0.98)
            for label, recall in zip(CLASSES, recalls, strict=True)
        ],
    )


_numbers = st.one_of(st.floats(1e-6, 10.0), st.none(), st.just(math.nan), st.just(math.inf))
_shares = st.one_of(st.floats(0, 1), st.floats(0.9, 1), st.none(), st.just(math.nan))
_some = st.one_of(st.integers(1, 2000), st.none())


@st.composite
def rows(draw: st.DrawFn, file: str = "a.onnx") -> Row:
    """Draw a row in which any number may be missing or not finite, and anything may be unstable."""
    whole = row(file)
    return msgspec.structs.replace(
        whole,
        format=draw(st.sampled_from(["onnx", "torchscript", "onnx", "torch_export"])),
        failed=draw(st.sampled_from([None, None, None, None, "it died"])),
        bytes=draw(_some),
        memory=Memory(peak_bytes=draw(_some)),
        latency=Latency(
            p50_ms=draw(_numbers), p95_ms=draw(_numbers), times_faster=draw(_numbers), unstable=draw(st.booleans())
        ),
        throughput=[
            Throughput(
                batch_size=size,
                rows_per_s=draw(_numbers),
                times_faster=draw(_numbers),
                baseline_rows_per_s=draw(_numbers),
                unstable=draw(st.booleans()),
            )
            for size in draw(st.sampled_from([(), (1,), (1, 8)]))
        ],
        nonfinite_rows=draw(st.sampled_from([0, 0, 0, None, 3])),
        metric=draw(_shares),
        drop=draw(st.one_of(st.none(), st.floats(-0.01, 0.05).map(drop_of), st.just(drop_of(math.nan)))),
        classes=[
            ClassRecall(label=label, support=draw(_some), recall=draw(_shares), recall_before=draw(_shares))
            for label in draw(st.sampled_from([CLASSES, CLASSES, ("cat",), ()]))
        ],
    )


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Draw the rows of a benchmark, most of them whole."""
    plain = st.builds(
        lambda p50, p95, rate, size, metric, bound: row(
            p50=p50, p95=p50 + p95, rate=rate, size=size, metric=metric, bound=bound
        ),
        st.floats(0.01, 5),
        st.floats(0, 5),
        st.floats(1, 1e5),
        st.integers(1, 2000),
        st.floats(0.9, 1),
        st.floats(0, 0.05),
    )
    found = draw(st.lists(st.one_of(plain, plain, rows()), max_size=6))
    return [msgspec.structs.replace(one, file=f"{index}.onnx") for index, one in enumerate(found)]


@st.composite
def policies(draw: st.DrawFn) -> SelectConfig:
    """Draw a policy with any budgets."""

    def maybe(strategy: st.SearchStrategy[float]) -> float | None:
        return draw(st.one_of(st.none(), strategy))

    return SelectConfig(
        objective=draw(st.sampled_from(["latency_p50", "latency_p95", "throughput", "bytes", "memory"])),
        max_drop=maybe(st.floats(0, 0.05)),
        max_drop_relative=maybe(st.floats(0, 0.05)),
        max_class_drop=maybe(st.floats(0, 0.2)),
        min_class_recall=maybe(st.floats(0.5, 1)),
        max_p95_ms=maybe(st.floats(0.1, 10)),
        max_bytes=draw(st.one_of(st.none(), st.integers(1, 2000))),
        max_memory_mb=maybe(st.floats(0.0001, 100)),
        tie=draw(st.floats(0, 0.5)),
    )
