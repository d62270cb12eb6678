"""Whether the network can be exported, asked before it is trained instead of after."""

import copy
from collections.abc import Sequence

import torch

from pipeline.config.sections import ExportConfig, Format
from pipeline.errors import GateRefused
from pipeline.exporting.formats import RUNTIME, export
from pipeline.exporting.parity import compare
from pipeline.sanity.finding import Finding
from pipeline.sanity.subject import Subject
from serving.errors import first_line
from serving.predictor import Predictor

_ROWS, _BATCH_SIZES = 16, (1, 7)
_LONG = 160  # characters of somebody else's error


def check_exports(subject: Subject, config: ExportConfig) -> list[Finding]:
    """Write each format of `export.formats` with the weights as they are, and compare its answers on a few rows."""
    return [_check(subject, form, config) for form in config.formats]


def check_trace(subject: Subject) -> list[Finding]:
    """Write TorchScript alone, which takes a tenth of a second; a model that it refuses mostly fails as ONNX as well."""
    return [_check(subject, "torchscript", ExportConfig())]


def _check(subject: Subject, form: Format, config: ExportConfig) -> Finding:
    check = f"as {form}"
    deployable = copy.deepcopy(subject.deployable)
    deployable.net = copy.deepcopy(subject.stepped)
    deployable = deployable.cpu().eval()
    inputs = subject.raw[:_ROWS]
    with torch.no_grad():
        expected = deployable(inputs).numpy()
    try:
        payload = export(deployable, inputs[:2], form)
        predictor = Predictor(payload, schema=subject.schema, runtime=RUNTIME[form])
        parity = compare(
            predictor.predict,
            inputs.numpy(),
            expected,
            task=subject.schema.task,
            batch_sizes=_BATCH_SIZES,
            atol=config.atol,
            rtol=config.rtol,
        )
    except GateRefused as error:
        return Finding("FAIL", check, _short(error.lines))
    except Exception as error:  # a runtime raises what it likes on a file that it cannot run
        return Finding("FAIL", check, f"the file fails on {len(inputs)} rows: {first_line(error)[:_LONG]}")
    if not parity.passed:
        text = (
            f"the file answers otherwise than the model, by {parity.max_abs_diff:.3g}, at batch size {parity.worst.batch_size}"
        )
        return Finding("FAIL", check, f"{text}; does forward() fix the batch size, or read values by .item()?")
    return Finding("PASS", check, f"the same answers on {len(inputs)} rows, largest difference {parity.max_abs_diff:.2g}")


def _short(lines: Sequence[str]) -> str:
    return "; ".join(line.removeprefix("export: ") for line in lines)
