"""One file to be made: a variant, a format, a method; and what became of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from pipeline.artifacts import Listed
from pipeline.config.choice_sections import Format, Variant
from pipeline.config.compression_sections import QuantizeConfig
from pipeline.exporting.formats import SUFFIX, export
from pipeline.models.deployable import Deployable
from pipeline.quantization.arithmetic import Arithmetic
from pipeline.quantization.bounded import Found, Subject, Unquantizable, bounded, told
from pipeline.quantization.foreseen import Method, applies
from pipeline.quantization.judge import Judge, Verdict
from serving.schema import Array

Weights = Literal["trained", "qat"]


@dataclass(frozen=True)
class Source:
    """A float model that is quantized.

    exported: its file in the format that is quantized, None: it is written anew. checkpoint: sha256 of its weights.
    """

    variant: Variant
    weights: Weights
    deployable: Deployable
    checkpoint: str
    exported: Callable[[Format], bytes] | None = None

    def payload(self, form: Format, examples: Array) -> bytes:
        """Return the float file. examples: (2, *shape) raw rows."""
        if self.exported is not None:
            return self.exported(form)
        return export(self.deployable, torch.from_numpy(examples), form)


@dataclass(frozen=True)
class Attempt:
    """What became of a file. payload: None when it is rejected; reason: why, None when it is accepted."""

    file: str
    source: Source
    form: Format
    method: Method
    found: Found | None
    payload: bytes | None
    reason: str | None

    @property
    def missed(self) -> bool:
        """Whether it was made and lost too much, which training may mend; all other reasons stay."""
        return self.found is not None and self.found.reason is not None

    def listed(self, judge: Judge, arithmetic: Arithmetic) -> Listed:
        """Return the entry of an accepted file."""
        assert self.found is not None
        last = self.found.last
        verdict = last.verdict
        return Listed(
            file=self.file,
            variant=self.source.variant,
            format=self.form,
            precision="int8",
            checkpoint=self.source.checkpoint,
            parity={
                "against": "float model",
                "rows": len(judge.inputs),
                "batch_sizes": list(judge.batch_sizes),
                "agreement": verdict.agreement,
                "max_abs_diff": verdict.max_abs_diff,
                "mean_abs_diff": verdict.mean_abs_diff,
                "batch_effect": verdict.batch_effect,
            },
            how={
                "method": self.method,
                "weights": self.source.weights,
                "calibration": last.calibration,
                "activation_type": arithmetic.activations,
                "weight_type": arithmetic.weights,
                "reduce_range": arithmetic.reduce_range,
                "layers": len(self.found.layers),
                "float_nodes": last.float_nodes,
                "metric": judge.schema.headline,
                "float": judge.metric,
                "int8": verdict.metric,
                "drop": verdict.drop,
            },
        )

    def told(self, judge: Judge) -> dict[str, Any]:
        """Return the whole story as plain values."""
        return {
            "file": self.file,
            "variant": self.source.variant,
            "format": self.form,
            "method": self.method,
            "weights": self.source.weights,
            "accepted": self.payload is not None,
            "reason": self.reason,
            "metric": judge.schema.headline,
            "float": judge.metric,
            "max_drop": judge.max_drop,
            "search": None if self.found is None else told(self.found),
        }


def file_name(variant: Variant, form: Format, method: Method) -> str:
    """Return `<variant>-int8.<suffix>`, or `<variant>-int8-dynamic.<suffix>`."""
    return f"{variant}-int8{'-dynamic' if method == 'dynamic' else ''}.{SUFFIX[form]}"


def attempt(
    source: Source,
    form: Format,
    method: Method,
    judge: Judge,
    rows: Array,
    *,
    sample: Array,
    arithmetic: Arithmetic,
    section: QuantizeConfig,
) -> Attempt:
    """Quantize a model in one format and one way, within the budget.

    rows: (rows, *shape) raw train rows, for ranges; sample: the same, fewer, for the sensitivity of layers.
    """
    found: Found | None = None
    payload: bytes | None = None
    try:
        with _any_algorithm(), _subject(source, form, method, rows, arithmetic, section) as subject:
            found, payload = bounded(subject, judge, sample, max_float_share=section.max_float_share)
            reason = found.reason or _neighbors(found.last.verdict)
    except Unquantizable as error:
        reason = str(error)
    return Attempt(
        file_name(source.variant, form, method), source, form, method, found, payload if reason is None else None, reason
    )


def _neighbors(verdict: Verdict) -> str | None:
    if verdict.alone:
        return None
    return (
        f"its answers to a row depend on the rows beside it (by up to {verdict.batch_effect:.3g}, "
        "above export.atol and export.rtol)"
    )


@contextmanager
def _any_algorithm() -> Iterator[None]:
    """Let torch run integer kernels of which it does not promise that they repeat; training before may have forbidden them."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def _subject(
    source: Source, form: Format, method: Method, rows: Array, arithmetic: Arithmetic, section: QuantizeConfig
) -> Iterator[Subject]:
    """Yield what is quantized; each library is imported only where it is needed."""
    match form, method:
        case "onnx", "static":
            from pipeline.quantization.onnx_static import OnnxStatic

            with OnnxStatic.opened(source.payload(form, rows[:2]), rows, arithmetic, section.calibration) as static:
                yield static
        case "onnx", "dynamic":
            from pipeline.quantization.onnx_dynamic import OnnxDynamic

            yield OnnxDynamic(source.payload(form, rows[:2]), reduce_range=arithmetic.reduce_range)
        case _:
            assert applies(form, method)
            from pipeline.quantization.torch_ao import TorchStatic, calibrations_for

            yield TorchStatic(source.deployable, rows, arithmetic, calibrations_for(section.calibration))
