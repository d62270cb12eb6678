"""Where and how torch runs, set once at the start of a stage."""

import os

import torch
from torch import nn

from pipeline.config.train_sections import EarlyStoppingConfig
from pipeline.errors import UserError
from pipeline.training.early_stopping import EarlyStopping
from pipeline.training.randomness import seed_everything


def choose_device(name: str) -> torch.device:
    """Return the device for `train.device`; raise UserError when it is asked for and not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    if not there[name]:
        have = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise UserError(f"train.device: torch {torch.__version__} sees no {name} here; it has: {have}")
    return torch.device(name)


def make_reproducible(seed: int) -> None:
    """Seed every generator and forbid algorithms whose result differs between two runs on the same machine."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
    torch.use_deterministic_algorithms(True)
    seed_everything(seed)


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the number type of autocast for `train.precision`, None for float32.

    auto: bfloat16 on a CUDA device that computes in it; a CPU gains nothing where it must emulate it. Raises UserError for what
    the device cannot do.
    """
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else None
    if precision == "fp32":
        return None
    if precision == "fp16" and device.type == "mps":
        raise UserError("train.precision: fp16 needs a loss scale, which torch has for cuda and cpu only; use bf16 or fp32")
    return torch.bfloat16 if precision == "bf16" else torch.float16


def wants_channels_last(choice: bool | str, net: nn.Module) -> bool:
    """Return whether images are laid out channel by channel within a pixel, which convolutions are faster on."""
    return any(isinstance(module, nn.Conv2d) for module in net.modules()) if choice == "auto" else bool(choice)


def early_stopping_of(section: EarlyStoppingConfig) -> EarlyStopping:
    """Return the hook that `train.early_stopping` describes."""
    return EarlyStopping(
        section.monitor,
        patience=section.patience,
        min_delta=section.min_delta,
        relative=section.min_delta_mode == "relative",
        mode=section.mode,
        warmup_epochs=section.warmup_epochs,
        stop_when_not_finite=section.stop_when_not_finite,
    )
