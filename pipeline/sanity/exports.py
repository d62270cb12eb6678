"""Whether the network can be exported, asked before it is trained instead of after."""

import copy
from collections.abc import Sequence

import torch

from pipeline.config.choice_sections import ExportConfig, Format
from pipeline.errors import GateRefused
from pipeline.exporting.formats import WAYS, Way
from pipeline.exporting.proving import Proof, prove
from pipeline.sanity.finding import Finding
from pipeline.sanity.subject import Subject

_ROWS, _BATCH_SIZES = 16, (1, 7)
_LONG = 240  # characters of a finding; the reason may be somebody else's error
_DEFAULTS = ExportConfig()


def check_exports(subject: Subject, config: ExportConfig) -> list[Finding]:
    """Write each format of `export.formats` with the weights as they are, and compare its answers on a few rows."""
    return [_check(subject, form, WAYS[form], config) for form in config.formats]


def check_trace(subject: Subject, config: ExportConfig = _DEFAULTS) -> list[Finding]:
    """Write TorchScript alone, which takes a tenth of a second, in place of all formats.

    A model that cannot be traced mostly fails as ONNX as well; so it may be scripted only where nothing but TorchScript is
    asked for.
    """
    alone = set(config.formats) == {"torchscript"}
    return [_check(subject, "torchscript", WAYS["torchscript"] if alone else WAYS["torchscript"][:1], config)]


def _check(subject: Subject, form: Format, ways: Sequence[Way], config: ExportConfig) -> Finding:
    check = f"as {form}"
    deployable = copy.deepcopy(subject.deployable)
    deployable.net = copy.deepcopy(subject.stepped)
    deployable = deployable.cpu().eval()
    inputs = subject.raw[:_ROWS]
    with torch.no_grad():
        expected = deployable(inputs).numpy()
    proof = Proof(
        schema=subject.schema,
        inputs=inputs.numpy(),
        expected=expected,
        batch_sizes=_BATCH_SIZES,
        atol=config.atol,
        rtol=config.rtol,
    )
    try:
        parity = prove(deployable, form, proof, ways=ways).parity
    except GateRefused as error:
        return Finding("FAIL", check, _short(error.lines))
    if not parity.passed:
        text = (
            f"the file answers otherwise than the model, by {parity.max_abs_diff:.3g}, at batch size {parity.worst.batch_size}"
        )
        diverges = f"; {parity.diverges}" if parity.diverges else ""
        return Finding("FAIL", check, f"{text}{diverges}; does forward() fix the batch size, or read values by .item()?")
    return Finding("PASS", check, f"the same answers on {len(inputs)} rows, largest difference {parity.max_abs_diff:.2g}")


def _short(lines: Sequence[str]) -> str:
    return "; ".join(line.removeprefix("export: ") for line in lines)[:_LONG]
