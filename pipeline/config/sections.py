"""Every key, its default, its range and one sentence: the source of `configs/base.yaml`, of `--schema` and of all checks.

Stages have verbs for names and a section each; what they work on (`data`, `model`) are nouns. Large sections have files of
their own.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.config.augment_sections import AugmentConfig
from pipeline.config.choice_sections import BenchmarkConfig, ExportConfig, SelectConfig
from pipeline.config.compression_sections import DistillConfig, PruneConfig, QuantizeConfig
from pipeline.config.data_sections import BuiltinData, DataConfig
from pipeline.config.model_sections import MlpConfig, ModelConfig
from pipeline.config.monitor_sections import MonitorConfig
from pipeline.config.prepare_sections import PrepareConfig
from pipeline.config.section import LARGEST_SEED, Fraction, Positive, Section
from pipeline.config.train_sections import TrainConfig


class EvaluateConfig(Section):
    """How good the model is, and how sure that is."""

    split: Literal["test", "validation"] = Field("test", description="the rows that are read")
    confidence: Fraction = Field(0.95, description="level of the intervals")
    resamples: Annotated[int, Field(ge=100)] = Field(
        1000, description="bootstrap resamples behind an interval; fewer, at least 100, above 200,000 rows"
    )
    test_reads: Positive = Field(
        2, description="reads of a test split that are in order, of evaluate and of select; more are reported, never hidden"
    )


class ServeConfig(Section):
    """The service started by `make serve`; a container takes the same options on its command line."""

    bundle: Literal["auto", "export", "select"] = Field(
        "auto",
        description="the bundle of which stage; auto: of select, once that was run, else of export; an old one is refused",
    )
    host: str = Field("127.0.0.1", description="address to bind; 0.0.0.0: every one")
    port: int = Field(8080, ge=1, le=65535, description="port to bind")
    workers: int = Field(1, ge=1, le=256, description="processes")
    threads: int = Field(1, ge=1, le=1024, description="threads inside one call of the model, in each process")
    batch_rows: int = Field(0, ge=0, le=4096, description="rows computed together; 0: what pays, measured at start; 1: none")
    max_body_mb: int = Field(16, ge=1, le=4096, description="larger requests get 413, in MiB")
    wait_s: float = Field(2.0, ge=0, le=86_400, description="requests that would wait longer get 503, in seconds")
    deadline_s: float = Field(30.0, gt=0, le=86_400, description="for a request in all, then 504, in seconds")
    grace_s: float = Field(2.0, ge=0, le=86_400, description="from SIGTERM, unready but answering, in seconds")
    strict: bool = Field(False, description="refuse values outside the trained range, and unseen categories")
    log_file: str | None = Field(
        None, description="where to write a JSON line for each request; null: nowhere; -: standard error"
    )


class Config(Section):
    """A whole run."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9_-]{1,40}$", description="names runs and data; default: the file's name")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="of weights, shuffling and dropout")
    data: DataConfig = BuiltinData()
    prepare: PrepareConfig = PrepareConfig()
    model: ModelConfig = MlpConfig()
    train: TrainConfig = TrainConfig()
    augment: AugmentConfig = AugmentConfig()
    monitor: MonitorConfig = MonitorConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    prune: PruneConfig = PruneConfig()
    distill: DistillConfig = DistillConfig()
    export: ExportConfig = ExportConfig()
    quantize: QuantizeConfig = QuantizeConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()
    select: SelectConfig = SelectConfig()
    serve: ServeConfig = ServeConfig()

    def section(self, name: str) -> Any:
        """Return a section, or a top-level key, as plain JSON-ready values."""
        return self.model_dump(mode="json", by_alias=True, include={name})[name]
