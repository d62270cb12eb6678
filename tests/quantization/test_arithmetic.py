"""The processor decides how many bits are used, and says why."""

import pytest

from pipeline.quantization.arithmetic import arithmetic_of, of_this_machine


@pytest.mark.parametrize("flag", ["avx512_vnni", "avx_vnni", "amx_int8"])
def test_with_vnni_all_8_bits_of_weights_are_used(flag: str) -> None:
    found = arithmetic_of(f"processor : 0\nflags\t\t: fpu avx2 {flag}\n", "x86_64")
    assert (found.activations, found.weights, found.reduce_range) == ("uint8", "int8", False)
    assert found.features
    assert found.features[0] in found.reason


def test_without_vnni_weights_keep_to_7_bits() -> None:
    found = arithmetic_of("flags : fpu avx2 avx512f\n", "x86_64")
    assert found.reduce_range
    assert "no VNNI" in found.reason


def test_an_unknown_processor_gets_what_overflows_on_none() -> None:
    found = arithmetic_of(None, "arm64")
    assert found.reduce_range
    assert "unknown" in found.reason


def test_arm_with_dot_products_uses_all_bits() -> None:
    assert not arithmetic_of("Features : fp asimd asimddp\n", "aarch64").reduce_range
    assert arithmetic_of("Features : fp asimd\n", "aarch64").reduce_range


def test_this_machine_has_an_answer() -> None:
    assert len(of_this_machine().reason) > 20
