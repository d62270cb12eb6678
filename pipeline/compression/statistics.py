"""Statistics of batch normalization, measured anew after a cut: those of the whole network are of sums that are no longer.

renew_statistics(net, rows.plain, seed=0)      # "post-statistics" of Yu et al. 2019, "Slimmable Neural Networks"
"""

from itertools import islice

import torch
from torch import nn

from pipeline.training.batches import Batches

_BATCHES = 16  # of up to 1024 rows: the mean and the variance of a channel need no more


@torch.no_grad()
def renew_statistics(net: nn.Module, batches: Batches, *, seed: int) -> None:
    """Give each batch normalization of `net` the mean and variance of what reaches it, in place; `net` is left in eval mode.

    batches: train rows as the network takes them, where it is; `seed` draws them where there are many. Nothing else moves: no
    weight, and dropout stays off. A single row has no variance, and leaves the statistics as they are.
    """
    net.eval()
    found = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001
    layers = [module for module in found if module.running_mean is not None]
    if not layers or batches.rows < 2:
        return
    momenta = [layer.momentum for layer in layers]
    seen = 0
    for layer in layers:
        layer.train()
    try:
        for inputs, _ in islice(batches.shuffled(seed=seed, epoch=1), _BATCHES):
            seen += len(inputs)
            for layer in layers:
                layer.momentum = len(inputs) / seen  # so that every row counts the same; the first batch replaces what was
            net(inputs)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        net.eval()
