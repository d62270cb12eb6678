"""A fit that has not begun, from a network and `train`."""

import torch
from torch import nn
from torch.amp import GradScaler

from pipeline.config.train_sections import TrainConfig
from pipeline.training.averaging import Average
from pipeline.training.flat import FlatParameters
from pipeline.training.optimizers import build_optimizer
from pipeline.training.schedules import build_schedule
from pipeline.training.state import FitState


def begin(
    net: nn.Module, config: TrainConfig, *, parts: int = 1, autocast: torch.dtype | None = None, compiled: bool = False
) -> FitState:
    """Return the state before the first step: `net` with flat parameters, its optimizer, schedule and average.

    parts: how many a step is computed in. Raises UserError for a network that cannot be trained.
    """
    flat = FlatParameters(net)
    optimizer = build_optimizer(flat, config.optimizer, lr=config.lr)
    early = config.early_stopping
    return FitState(
        net,
        flat,
        optimizer,
        build_schedule(optimizer, config.schedule, epochs=config.epochs, monitor=early.monitor, mode=early.mode),
        config.epochs,
        average=Average(net, flat, decay=config.ema_decay) if config.ema_decay else None,
        scaler=GradScaler(flat.weights.device.type) if autocast == torch.float16 else None,
        forward=torch.compile(net, dynamic=False) if compiled else None,
        parts=parts,
    )
