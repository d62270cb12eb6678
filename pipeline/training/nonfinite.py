"""NaN and infinity in training: the step, the rows and the layer where they began, instead of a quietly broken model."""

from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, nn

from pipeline.errors import NonFiniteLoss
from pipeline.training.batches import Batches
from pipeline.training.state import FitState

NonFinite = Literal["stop", "skip"]
_NAMED_ROWS = 8


def refuse_batch(state: FitState, train: Batches, seed: int, inputs: Tensor, loss: Tensor, norm: Tensor) -> NoReturn:
    """Raise NonFiniteLoss for the batch at hand; the weights are those before its step, so the layer can be found."""
    layer = first_layer(state.net, inputs)
    raise NonFiniteLoss(_message(state, train, seed, state.batch, loss.item(), norm.item(), layer))


def check_epoch(state: FitState, train: Batches, seed: int, losses: Tensor, norms: Tensor, finite: Tensor) -> None:
    """Raise NonFiniteLoss for the first batch of an epoch whose loss or gradient norm was not finite, if any."""
    if not bool(finite.all()):
        index = int((~finite).nonzero()[0])
        raise NonFiniteLoss(_message(state, train, seed, index, float(losses[index]), float(norms[index]), None))


def first_layer(net: nn.Module, inputs: Tensor) -> str | None:
    """Return the first layer whose output is not finite, else the first whose gradient is not, as `name (kind)`."""
    found: list[str] = []

    def watch(name: str, module: nn.Module) -> Any:
        def look(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                found.append(f"output of layer {name!r} ({type(module).__name__})")

        return module.register_forward_hook(look)

    leaves = [(name, module) for name, module in net.named_modules() if not list(module.children())]
    handles = [watch(name, module) for name, module in leaves]
    try:
        with torch.no_grad():
            net(inputs)
    finally:
        for handle in handles:
            handle.remove()
    for name, parameter in net.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            found.append(f"gradient of {name!r}")
            break
    return found[0] if found else None


def _message(state: FitState, train: Batches, seed: int, index: int, loss: float, norm: float, layer: str | None) -> str:
    rows = train.rows_of(seed=seed, epoch=state.epoch, batch=index).tolist()
    shown = ", ".join(str(row) for row in rows[:_NAMED_ROWS]) + (" …" if len(rows) > _NAMED_ROWS else "")
    return (
        f"train: epoch {state.epoch}, step {index + 1} of {len(train)}: loss {loss}, gradient norm {norm}"
        f"{f', first in the {layer}' if layer else ''}; train rows of the batch: {shown}; "
        "lower train.lr, set train.clip_norm=1, or train.nonfinite=skip to leave such steps out"
    )
