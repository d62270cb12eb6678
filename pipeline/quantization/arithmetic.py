"""What the processor can do decides which integers are used: too wide a product overflows on some, in silence."""

import platform
from pathlib import Path
from typing import Literal

import msgspec

CPUINFO = Path("/proc/cpuinfo")
_WITH_VNNI = {"avx512_vnni": "AVX512-VNNI", "avx_vnni": "AVX-VNNI", "amx_int8": "AMX"}
_WITH_DOT = {"asimddp": "dot products", "i8mm": "matrix products"}  # of Arm


class Arithmetic(msgspec.Struct, frozen=True):
    """Types of the integers, and why.

    reduce_range: weights, or activations in TorchScript, keep to 7 of their 8 bits.
    """

    activations: Literal["uint8", "int8"]
    weights: Literal["int8"]
    reduce_range: bool
    features: list[str]
    reason: str


def arithmetic_of(cpuinfo: str | None, machine: str) -> Arithmetic:
    """Choose the integers for a processor.

    cpuinfo: text of /proc/cpuinfo, None where there is none; machine: as `platform.machine()` says it. Activations are
    unsigned everywhere: after a ReLU the sign would be a wasted bit, and the kernels for x86 multiply unsigned by signed.
    Without VNNI these add pairs of products in 16 bits, which 255 * 127 twice exceeds, so weights must keep to 7 bits.
    """
    if cpuinfo is None:
        return _chosen([], reduce=True, why=f"the features of this {machine} are unknown; 7 bits overflow on none")
    words = set(cpuinfo.replace(":", " ").split())
    vnni = [name for flag, name in _WITH_VNNI.items() if flag in words]
    dot = [name for flag, name in _WITH_DOT.items() if flag in words]
    if vnni:
        return _chosen(vnni, reduce=False, why=f"{', '.join(vnni)}: products are added in 32 bits, so all 8 bits are used")
    if dot:
        return _chosen(dot, reduce=False, why=f"{', '.join(dot)} of Arm add in 32 bits, so all 8 bits are used")
    return _chosen(
        [], reduce=True, why=f"this {machine} has no VNNI: pairs of products are added in 16 bits, so 7 bits are used"
    )


def of_this_machine() -> Arithmetic:
    """Choose the integers for the processor that this runs on."""
    text = CPUINFO.read_text(errors="replace") if CPUINFO.is_file() else None
    return arithmetic_of(text, platform.machine() or "processor")


def _chosen(features: list[str], *, reduce: bool, why: str) -> Arithmetic:
    return Arithmetic("uint8", "int8", reduce, features, why)
