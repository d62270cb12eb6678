"""Which files are made, how they are measured, and which one is served."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Fraction, Positive, Section, listed

Format = Literal["onnx", "torchscript", "torch_export"]
Variant = Literal["train", "prune", "distill"]
Provider = Literal["cpu", "cuda", "tensorrt", "openvino"]  # as in serving.bundle, which a config does not import
_BatchSize = Annotated[int, Field(ge=1, le=65_536)]  # rows; what takes a typing error for a size fills the memory
_MOST_SIZES = 16  # each has a sitting of its own, of up to `windows` rounds
Objective = Literal["latency_p50", "latency_p95", "throughput", "bytes", "memory"]


class ExportConfig(Section):
    """Which files to make, and how close their answers must be to the model's."""

    variants: tuple[Variant, ...] = listed(
        ("train",), "the models that are written: train, prune, distill; what is missing is made"
    )
    formats: tuple[Format, ...] = listed(
        ("onnx", "torchscript"), "onnx, torchscript, torch_export; the last one is for your own use: it is loaded by unpickling"
    )
    bundle: Literal["onnx", "torchscript"] = Field("onnx", description="the format that is served where nothing is selected")
    batch_sizes: tuple[Positive, ...] = listed(
        (1, 7, 64), "batch sizes at which parity is proven on the whole validation split"
    )
    atol: float = Field(1e-4, ge=0, description="an answer a passes against b when |a - b| <= atol + rtol * |b|")
    rtol: float = Field(1e-4, ge=0, description="see atol")
    golden_rows: Positive = Field(16, description="validation rows that the service replays before it reports ready")

    @model_validator(mode="after")
    def _bundle_is_made(self) -> "ExportConfig":
        for key, names in (("formats", self.formats), ("variants", self.variants)):
            if len(set(names)) < len(names):
                raise ValueError(f"{key}: {list(names)} names a {key[:-1]} twice")
        if self.bundle not in self.formats:
            raise ValueError(f"bundle: {self.bundle!r} is not among formats {list(self.formats)}")
        if "train" not in self.variants:
            raise ValueError(f"variants: {list(self.variants)} lacks train, the model that others are measured against")
        return self


class BenchmarkConfig(Section):
    """How artifacts are measured: each in a process of its own, in turns, until windows agree."""

    precisions: tuple[Literal["fp32", "int8"], ...] = listed(
        ("fp32", "int8"), "fp32, int8: which artifacts; int8 is made by quantize"
    )
    providers: Annotated[tuple[Provider, ...], Field(strict=False, min_length=1)] | Literal["auto"] = Field(
        "auto",
        description="of ONNX Runtime, each measured beside cpu: cuda, tensorrt, openvino; auto: those that work here",
    )
    threads: int = Field(1, ge=1, le=256, description="threads inside one call of a model")
    batch_sizes: tuple[_BatchSize, ...] = listed((1, 8, 32, 128), "batch sizes for throughput, until it grows no more")
    window_ms: float = Field(100.0, ge=1, le=60_000, description="time of one window of calls")
    windows: Annotated[int, Field(ge=3)] = Field(30, description="at most, of each artifact and batch size")
    agree: Fraction = Field(0.1, description="stable: the medians of the last three windows differ by less than this share")
    confidence: Fraction = Field(0.95, description="level of the paired intervals")
    resamples: Annotated[int, Field(ge=100)] = Field(2000, description="bootstrap resamples behind a paired interval")

    @field_validator("precisions", "batch_sizes", "providers")
    @classmethod
    def _each_is_measured_once(cls, items: Any) -> Any:
        twice = next((item for item in items if items.count(item) > 1), None) if isinstance(items, tuple) else None
        if twice is not None:
            raise ValueError(f"{list(items)} names {twice} twice; name it once")
        return items

    @field_validator("providers")
    @classmethod
    def _cpu_is_measured(cls, providers: Any) -> Any:
        if providers != "auto" and "cpu" not in providers:
            raise ValueError(f"{list(providers)} lacks cpu, which the others are compared with; add it")
        return providers

    @field_validator("batch_sizes")
    @classmethod
    def _sizes_are_few(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if len(sizes) > _MOST_SIZES:
            raise ValueError(f"has {len(sizes)} sizes, and each is measured by itself; name {_MOST_SIZES} or fewer")
        return sizes


class SelectConfig(Section):
    """Which artifact is served: the best by `objective` among those within every budget; missing numbers reject."""

    objective: Objective = Field("latency_p50", description="what is made best: least time, bytes or memory, most throughput")
    max_drop: float | None = Field(
        0.02,
        ge=0,
        description="what the headline metric may lose against the float model, at the interval's bound; of errors a share of "
        "what they were; null: anything",
    )
    max_drop_relative: float | None = Field(None, ge=0, description="the same as a share of the float model's metric")
    max_class_drop: float | None = Field(
        0.1, ge=0, description="what the recall of any class may lose, where it has 10 rows or more; null: anything"
    )
    min_class_recall: float | None = Field(None, ge=0, le=1, description="the least recall of any class; null: anything")
    max_p95_ms: float | None = Field(None, gt=0, description="slowest p95 at batch 1; null: anything")
    max_bytes: Positive | None = Field(None, description="largest file; null: anything")
    max_memory_mb: float | None = Field(None, gt=0, description="highest peak memory of its process; null: anything")
    tie: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.05, description="candidates this near to the best share the first place; of them the one with the best metric wins"
    )
    evaluate_test: bool = Field(True, description="measure the winner once on the test split; the read is recorded")
