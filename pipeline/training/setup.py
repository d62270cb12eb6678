"""Where and how reproducibly torch runs, set once at the start of a stage."""

import os

import torch

from pipeline.errors import UserError


def choose_device(name: str) -> torch.device:
    """Return the device for `train.device`; raise UserError when it is asked for and not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    if not there[name]:
        have = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise UserError(f"train.device: torch {torch.__version__} sees no {name} here; it has: {have}")
    return torch.device(name)


def make_reproducible(*, seed: int, threads: int | None) -> None:
    """Seed torch and forbid algorithms whose result differs between two runs on the same machine."""
    if threads is not None:
        torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
