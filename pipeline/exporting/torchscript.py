"""The adapter for TorchScript, which torch has deprecated: everything that writes it, or looks into it, stands here.

payload = traced(deployable, example, {})      # records what one batch does
payload = scripted(deployable, example, {})    # compiles what the compiler understands, branches and loops on data included
"""

import copy
import io
import zipfile
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

METADATA = "slipway.json"  # the extra file


def traced(module: nn.Module, example: Tensor, metadata: Mapping[str, Any]) -> bytes:
    """Write the operations that a run on `example` went through; a branch on data warns, which the caller makes an error."""
    return _saved(torch.jit.trace(module, example), metadata)


def scripted(module: nn.Module, example: Tensor, metadata: Mapping[str, Any]) -> bytes:
    """Write every largest part that TorchScript can compile as its code, and trace what joins these parts.

    So a branch on data in a network stays a branch, though the preprocessing around it is Python that no compiler takes. A
    branch in such Python warns, as in `traced`.
    """
    return _saved(torch.jit.trace(_compiled(copy.deepcopy(module)), example), metadata)


def _compiled(module: nn.Module) -> nn.Module:
    """Return the module compiled, or with its children compiled in place, as deep as it takes."""
    if not isinstance(module, nn.ModuleList | nn.ModuleDict):  # their parents index them, which compiled ones do not allow
        try:
            compiled: nn.Module = torch.jit.script(module)
        except Exception:  # the compiler raises what it likes; what it refuses is traced, and parity judges the result
            compiled = module
        if compiled is not module:
            return compiled
    for name, child in module.named_children():
        setattr(module, name, _compiled(child))
    return module


def _saved(module: Any, metadata: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    extra = {METADATA: msgspec.json.encode(dict(metadata), order="sorted").decode()} if metadata else {}
    torch.jit.save(torch.jit.freeze(module), buffer, _extra_files=extra)
    return _copied(buffer.getvalue())


def with_metadata(archive: bytes, metadata: Mapping[str, Any]) -> bytes:
    """Return a file with this metadata in place of what it had; for files that a quantizer wrote."""
    return _copied(archive, msgspec.json.encode(dict(metadata), order="sorted"))


def _copied(archive: bytes, metadata: bytes | None = None) -> bytes:
    """Return an archive without its debug tables, which name source files of this machine, and with other metadata."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as whole, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as kept:
        names = [entry.filename for entry in whole.infolist()]
        extra = f"{names[0].partition('/')[0]}/extra/{METADATA}"
        for name in names:
            if not name.endswith(".debug_pkl") and not (metadata is not None and name == extra):
                kept.writestr(zipfile.ZipInfo(name), whole.read(name))
        if metadata is not None:
            kept.writestr(zipfile.ZipInfo(extra), metadata)
    return buffer.getvalue()


def values_of(payload: bytes, rows: NDArray[np.float32]) -> list[NDArray[Any]]:
    """Return every tensor that a file computes for `rows`, (batch, *shape), the answer last; inside a branch none is seen."""
    module = torch.jit.load(io.BytesIO(payload), map_location="cpu").eval()
    graph = module.inlined_graph.copy()
    found = [value for node in graph.nodes() for value in node.outputs() if _is_computed(node, value)]
    for value in found:
        graph.registerOutput(value)
    graph.makeMultiOutputIntoTuple()
    # There is no public way to run a changed graph.
    run = torch._C._create_function_from_graph("forward", graph)  # noqa: SLF001
    with torch.inference_mode():
        outputs: tuple[Tensor, ...] = run(module._c, torch.from_numpy(rows))  # noqa: SLF001
    answer, *values = outputs
    return [output.numpy() for output in (*values, answer)]


def _is_computed(node: Any, value: Any) -> bool:
    return bool(value.type().kind() == "TensorType" and node.kind() != "prim::Constant")
