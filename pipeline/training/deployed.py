"""A trained Model as the module that is evaluated and exported."""

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.artifacts import Model, Prepared
from pipeline.models.deployable import Deployable
from pipeline.training.weights import load

_ROWS = 512  # in one forward pass


def deployable_of(prepared: Prepared, model: Model) -> Deployable:
    """Join the best checkpoint with the statistics of its train rows, in eval mode, on the CPU."""
    return joined(prepared, model.read(Model.BEST), source=model.source())


def joined(prepared: Prepared, checkpoint: bytes, *, source: bytes | None) -> Deployable:
    """Join a checkpoint with the statistics of its train rows, in eval mode, on the CPU. source: of a custom model."""
    net = load(checkpoint, source=source)
    deployable = Deployable(net, task=prepared.schema.task, statistics=prepared.statistics, features=prepared.schema.features)
    return deployable.eval()


def answers(deployable: Deployable, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the model's answers: (rows, *shape) raw -> (rows, outputs)."""
    with torch.inference_mode():
        parts = [deployable(part) for part in torch.from_numpy(inputs).split(_ROWS)]
    found: NDArray[np.float32] = torch.cat(parts).numpy()
    return found
