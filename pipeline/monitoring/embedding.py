"""What the last layer is given: validation rows as points, for TensorBoard's projector."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.monitoring.monitor import Monitor
from pipeline.monitoring.undisturbed import undisturbed
from pipeline.tracking import Tracker
from pipeline.training.batches import Batches
from pipeline.training.state import FitState
from serving.schema import Schema

_MOST_ROWS = 5000  # more points than that are a cloud


class Embedding(Monitor):
    """Writes `embedding.npy`, (rows, features), once after the last epoch, and records it with the true classes or values."""

    name = "embedding"
    gives_way = True

    def __init__(self, validation: Batches, schema: Schema, tracker: Tracker, out: Path) -> None:
        """Look at the rows of `validation`."""
        self._validation, self._schema, self._tracker, self._out = validation, schema, tracker, out

    def at_end(self, state: FitState) -> None:
        """Run the validation rows once more; raise ValueError for a network without a Linear layer."""
        layers = [module for module in state.net.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise ValueError("the model has no Linear layer whose input could be shown")
        points: list[Tensor] = []

        def keep(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            points.append(inputs[0].detach().flatten(1).float().cpu())

        targets: list[Tensor] = []
        handle = layers[-1].register_forward_pre_hook(keep)
        try:
            with undisturbed(state):
                for inputs, of_rows in self._validation.in_order():
                    state.net(inputs)
                    targets.append(of_rows.cpu())
                    if sum(map(len, targets)) >= _MOST_ROWS:
                        break
        finally:
            handle.remove()
        if sum(map(len, points)) != sum(map(len, targets)):
            raise ValueError("the last Linear layer is not called once for each row, so that its inputs are no points")
        matrix = torch.cat(points)[:_MOST_ROWS].numpy()
        np.save(self._out / "embedding.npy", matrix, allow_pickle=False)
        labels = [_text(target, self._schema) for target in torch.cat(targets)[:_MOST_ROWS].tolist()]
        self._tracker.embedding("last_layer", "embedding.npy", labels, step=state.epoch)


def _text(target: Any, schema: Schema) -> str:
    """Return what a row is: its class, its labels or its values."""
    match schema.task:
        case "classification":
            label: str = schema.classes[target]
            return label
        case "multilabel":
            return ", ".join(label for label, has in zip(schema.classes, target, strict=True) if has) or "none"
        case "regression":
            return ", ".join(f"{value:.6g}" for value in (target if schema.targets else [target]))
