"""A network as the graph that TensorBoard draws."""

import io
import warnings
from contextlib import redirect_stdout

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning  # torch.jit has it under the same name, but does not export it


def graph_bytes(net: nn.Module, inputs: Tensor) -> tuple[bytes, list[str]]:
    """Return a serialized GraphDef of `net` on `inputs` (rows, *shape), and what the tracer warned of, a line each.

    Runs `net` three times, in eval mode: give it a copy. Raises what the tracer, or the network under it, raises.
    """
    from torch.utils.tensorboard._pytorch_graph import graph

    # It prints what it raises as well; TorchScript is deprecated as a whole.
    with redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", TracerWarning)
        definition, _ = graph(net, (inputs,))
    warned = dict.fromkeys(str(warning.message).splitlines()[0] for warning in caught)
    return definition.SerializeToString(deterministic=True), list(warned)
