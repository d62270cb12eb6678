"""One step on a copy, before training: what a user's model, a monitor's name or too little memory would break only later."""

import copy
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models.registry import CUSTOM, Architecture
from pipeline.training.early_stopping import monitored
from pipeline.training.flat import replaced
from pipeline.training.objective import Objective
from pipeline.training.step import out_of_memory
from serving.errors import first_line


def try_out(
    net: nn.Module,
    batch: tuple[Tensor, Tensor],
    objective: Objective,
    architecture: Architecture,
    monitor: str,
    autocast: torch.dtype | None = None,
) -> None:
    """Take a step on a copy of `net`; raise UserError for what cannot work, and let errors of memory through.

    Draws random numbers: callers keep the generators.
    """
    inputs, targets = batch
    if not any(p.requires_grad for p in net.parameters()):
        raise UserError("model: it has no parameters to train")
    try:
        tried = copy.deepcopy(net).train()
        memory = {name: p.data_ptr() for name, p in tried.named_parameters()}
        with torch.autocast(inputs.device.type, dtype=autocast, enabled=autocast is not None):
            outputs = tried(inputs)
        _check_outputs(outputs, (len(inputs), architecture.outputs))
        objective.loss(outputs.float(), targets).backward()
    except UserError:
        raise
    except Exception as error:
        if architecture.name != CUSTOM or out_of_memory(error):
            raise
        raise UserError(
            f"model: a training step fails on rows of shape {architecture.input_shape}: {first_line(error)}"
        ) from error
    for name, parameter in tried.named_parameters():
        if parameter.data_ptr() != memory.get(name):
            raise UserError(replaced(name))
        if parameter.grad is not None and parameter.grad.is_sparse:
            raise UserError(f"model: {name} has sparse gradients, which are not supported; set sparse=False in its layer")
    names = {"loss": math.nan, **objective.metrics(outputs.detach().float(), targets)}
    monitored({f"{split}/{name}": value for split in ("train", "val") for name, value in names.items()}, monitor)


def _check_outputs(outputs: Any, expected: tuple[int, int]) -> None:
    """Raise UserError unless a network returned what it must: (rows, outputs), with a gradient."""
    if not isinstance(outputs, Tensor) or tuple(outputs.shape) != expected:
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise UserError(f"model: forward() of {expected[0]} rows must return the shape {expected}, it returns {found}")
    if not outputs.requires_grad:
        raise UserError("model: the answers have no gradient; look for detach(), no_grad() or .data in forward()")


def fitting_sizes(
    run: Callable[[int, int], None], size: int, *, batch_size: int | Literal["auto"], accumulate: int | Literal["auto"]
) -> dict[str, Any]:
    """Return {"batch_size", "accumulate"} that memory suffices for, halving what is `auto` until `run(size, parts)` works.

    A number that was given stays; where both are `auto`, the batch is kept and computed in parts. Raises UserError when
    nothing is left to halve.
    """
    parts = 1 if accumulate == "auto" else accumulate
    while True:
        try:
            run(size, parts)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if accumulate == "auto" and parts < size:
                parts *= 2
            elif batch_size == "auto" and size > 1:
                size //= 2
            else:
                raise UserError(
                    f"train.batch_size: a step of {size} rows in {parts} part{'s' * (parts > 1)} does not fit into memory: "
                    f"{first_line(error)}; set train.accumulate=auto to compute it in parts, or a smaller batch_size"
                ) from error
        else:
            return {"batch_size": size, "accumulate": parts}
