"""How weights begin."""

from typing import Literal

from torch import nn

_WITH_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def initialize(net: nn.Module, method: Literal["default", "kaiming", "xavier"]) -> None:
    """Draw the weights of linear and convolutional layers anew, in place, and set their biases to 0; `default` leaves all.

    kaiming: normal, for ReLU (He et al. 2015). xavier: uniform, for tanh and sigmoid (Glorot and Bengio 2010).
    """
    if method == "default":
        return
    for module in net.modules():
        if isinstance(module, _WITH_WEIGHTS):
            if method == "kaiming":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
