"""The adapter for programs of torch.export (`.pt2`): a graph that torch itself runs again, for your own use.

torch loads such a file by unpickling parts of it, so one from elsewhere may run any code: no bundle may hold it
(serving.bundle).
"""

import io
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

METADATA = "slipway.json"  # the extra file


def exported(module: nn.Module, example: Tensor, metadata: Mapping[str, Any]) -> bytes:
    """Write the program with a dynamic batch; the same module gives the same bytes.

    Raises what torch.export raises: it refuses a branch on data, and a batch size that became a constant.
    """
    # The file keeps its example. Zeros are no row of anybody.
    program = torch.export.export(module, (torch.zeros_like(example),), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # it names source files of this machine
    buffer = io.BytesIO()
    extra = {METADATA: msgspec.json.encode(dict(metadata), order="sorted").decode()} if metadata else {}
    torch.export.save(program, buffer, extra_files=extra)
    return buffer.getvalue()


def values_of(payload: bytes, rows: NDArray[np.float32]) -> list[NDArray[Any]]:
    """Return every tensor that a file computes for `rows`, (batch, *shape), the answer last. The file must be our own."""
    recorder = _Recorder(torch.export.load(io.BytesIO(payload)).module())
    with torch.inference_mode():
        answer = recorder.run(torch.from_numpy(rows))
    return [value.numpy() for value in (*recorder.values, answer)]


class _Recorder(fx.Interpreter):
    """Runs a graph node by node, and keeps what each returns."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: list[Tensor] = []

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        found = super().run_node(n)
        if n.op.startswith("call_") and isinstance(found, Tensor):
            self.values.append(found.clone())
        return found
