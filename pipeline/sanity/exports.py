"""Whether the network can be exported, asked before it is trained instead of after."""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.jit._trace import TracerWarning  # torch.jit has it under the same name, but does not export it

from pipeline.config.choice_sections import ExportConfig, Format
from pipeline.errors import GateRefused
from pipeline.exporting.formats import WAYS, Way
from pipeline.exporting.parity import Tolerance
from pipeline.exporting.proving import Proof, prove
from pipeline.exporting.torchscript import traced
from pipeline.models.deployable import Deployable
from pipeline.sanity.finding import Finding
from pipeline.sanity.subject import Subject

_ROWS, _BATCH_SIZES = 16, (1, 7)
_LONG = 240  # characters of a finding; the reason may be somebody else's error
_DEFAULTS = ExportConfig()
_TORCH = Path(torch.__file__).parent
_REFUSED = "the model cannot be written as torchscript: "


def check_exports(subject: Subject, config: ExportConfig) -> list[Finding]:
    """Write each format of `export.formats` with the weights as they are, and compare its answers on a few rows."""
    return [_check(subject, form, WAYS[form], config) for form in config.formats]


def check_trace(subject: Subject, config: ExportConfig = _DEFAULTS) -> list[Finding]:
    """Write TorchScript alone, which takes a tenth of a second, in place of all formats.

    What cannot be traced is compiled, as `export` does. That is enough where nothing but TorchScript is asked for, or where
    only torch's own layers branch, as a GRU does, which every format knows; a branch of the model's own mostly fails as ONNX.
    """
    ways = WAYS["torchscript"]
    if set(config.formats) == {"torchscript"}:
        return [_check(subject, "torchscript", ways, config)]
    by_trace = _check(subject, "torchscript", ways[:1], config)
    if by_trace.level == "PASS":
        return [by_trace]
    compiled = _check(subject, "torchscript", ways[1:], config)
    if compiled.level != "PASS":
        return [by_trace]
    if _only_torch_branches(subject):
        return [compiled]
    others = " and ".join(form for form in config.formats if form != "torchscript")
    reason = by_trace.text.removeprefix(_REFUSED)
    return [Finding("FAIL", by_trace.check, f"only compiles as TorchScript; {others} will probably refuse it: {reason}")]


def _only_torch_branches(subject: Subject) -> bool:
    """Return whether what tracing warns of stands in torch's own layers, none of it in the model's code."""
    deployable = _deployable(subject)
    with warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", TracerWarning)
        try:
            traced(deployable, subject.raw[:2], {})
        except Exception:  # a user's forward() raises what it likes; then it is no branch that stands in the way
            return False
    places = [Path(warning.filename) for warning in caught if issubclass(warning.category, TracerWarning)]
    return bool(places) and all(place.is_relative_to(_TORCH) for place in places)


def _deployable(subject: Subject) -> Deployable:
    """Return the model with the weights as they are, on the CPU, as it is exported."""
    deployable = copy.deepcopy(subject.deployable)
    deployable.net = copy.deepcopy(subject.stepped)
    return deployable.cpu().eval()


def _check(subject: Subject, form: Format, ways: Sequence[Way], config: ExportConfig) -> Finding:
    check = f"as {form}"
    deployable = _deployable(subject)
    inputs = subject.raw[:_ROWS]
    with torch.no_grad():
        expected = deployable(inputs).numpy()
    proof = Proof(
        schema=subject.schema,
        inputs=inputs.numpy(),
        expected=expected,
        batch_sizes=_BATCH_SIZES,
        tolerance=Tolerance(config.atol, config.rtol),
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
