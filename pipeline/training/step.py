"""One step of training: forward, backward, clipping, and the change of the weights."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.training.losses import Loss
from pipeline.training.optimizers import Update
from pipeline.training.state import FitState


@dataclass(frozen=True)
class StepOptions:
    """What a step does beside the plain one.

    clip_norm: global L2 norm that a gradient is scaled down to. clip_value: size that each of its numbers is cut to. autocast:
    number type of most operations in the forward pass; None: float32. halve: compute a step in twice as many parts when
    memory does not suffice.
    """

    clip_norm: float | None = None
    clip_value: float | None = None
    autocast: torch.dtype | None = None
    halve: bool = False


class Step:
    """Computes gradients (`gradients`), then changes weights (`update`); hooks may look in between."""

    def __init__(self, state: FitState, loss: Loss, options: StepOptions) -> None:
        """Work on the network and the optimizer of `state`."""
        self._state, self._loss, self._options = state, loss, options
        self._forward = state.forward if state.forward is not None else state.net
        self._update = Update(state.optimizer)
        self._device = state.flat.weights.device.type

    def gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs (batch, n), the mean loss and the global norm of the gradient before clipping, without graphs.

        The gradient itself, clipped, is in `state.flat.gradients`.
        """
        state, flat = self._state, self._state.flat
        while True:
            flat.gradients.zero_()
            try:
                output, loss = self._all_parts(inputs, targets)
                break
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not (self._options.halve and out_of_memory(error)) or state.parts >= len(inputs):
                    raise
                state.parts *= 2
        if state.scaler is not None:
            state.scaler.unscale_(state.optimizer)
        norm = flat.gradient_norm()
        if self._options.clip_norm is not None:
            flat.clip_norm(norm, self._options.clip_norm)
        elif self._options.clip_value is not None:
            flat.clip_value(self._options.clip_value)
        return output, loss, norm

    def update(self) -> None:
        """Change the weights, and their average."""
        if self._state.scaler is not None:
            self._state.scaler.step(self._state.optimizer)
            self._state.scaler.update()
        else:
            self._update()
        if self._state.average is not None:
            self._state.average.update()

    def skip(self) -> None:
        """Leave the weights as they are; a loss scale that was too large shrinks."""
        if self._state.scaler is not None:
            self._state.scaler.update()

    def _all_parts(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if self._state.parts == 1:
            return self._part(inputs, targets, 1.0)
        count = max(1, min(self._state.parts, len(inputs) // 2))  # batch normalization needs two rows
        pairs = zip(inputs.tensor_split(count), targets.tensor_split(count), strict=True)
        parts = [self._part(some, of_these, len(some) / len(inputs)) for some, of_these in pairs]
        return torch.cat([output for output, _ in parts]), torch.stack([loss for _, loss in parts]).sum()

    def _part(self, inputs: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Add a part's share of the gradient, and return its outputs and its share of the loss."""
        if self._options.autocast is None:
            output = self._forward(inputs)
            loss = self._loss(output, targets)
        else:
            with torch.autocast(self._device, dtype=self._options.autocast):
                output = self._forward(inputs).float()
            loss = self._loss(output, targets)  # in float32: a sum of logarithms
        if share != 1.0:
            loss = loss * share
        if self._state.scaler is not None:
            self._state.scaler.scale(loss).backward()
        else:
            loss.backward()
        return output.detach(), loss.detach()


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the device, or the machine, has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
