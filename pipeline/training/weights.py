"""Weights as files: an architecture and a `state_dict`, loaded with `weights_only=True`."""

import io
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from pipeline.models.registry import Architecture, build


def dump(architecture: Architecture, weights: dict[str, Tensor]) -> bytes:
    """Return the bytes of a checkpoint that `load` builds a network from; tensors are stored in plain memory order."""
    weights = {name: tensor.contiguous() for name, tensor in weights.items()}
    return bytes_of({"architecture": msgspec.to_builtins(architecture), "weights": weights})


def load(payload: bytes, *, source: bytes | None = None) -> nn.Module:
    """Build the network of a checkpoint, in eval mode; `source` is the text of a custom model's file.

    `payload` must be verified first: a flipped bit loads without an error.
    """
    content = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    net = build(msgspec.convert(content["architecture"], Architecture), source=source)
    net.load_state_dict(content["weights"])
    return net.eval()


def bytes_of(content: dict[str, Any]) -> bytes:
    """Return tensors and plain values as torch writes them."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
