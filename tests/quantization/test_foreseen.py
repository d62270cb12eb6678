"""What quantize could never make is refused before a model is trained for it."""

import subprocess
import sys

import pytest

from pipeline.config import load
from pipeline.errors import UserError
from pipeline.quantization.foreseen import check_quantize


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("quantize.formats=[torchscript]", "quantize.methods=[static,dynamic]", "export.formats=[onnx]"),
            r"^quantize.formats: torchscript by .*; add torchscript to export.formats, or leave int8 out of benchmark",
        ),
        (
            ("quantize.methods=[dynamic]", "export.formats=[torchscript]", "export.bundle=torchscript"),
            r"^quantize.formats: onnx by quantize.methods=\[dynamic\], and export.formats=\[torchscript\] writes no such file",
        ),
    ],
)
def test_formats_that_export_does_not_write_are_refused_with_the_key_to_set(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_quantize(load(None, words))


@pytest.mark.parametrize("words", [(), ("export.formats=[onnx]",), ("quantize.formats=[onnx]", "quantize.methods=[dynamic]")])
def test_one_format_in_common_is_enough(words: tuple[str, ...]) -> None:
    check_quantize(load(None, words))


def test_the_check_costs_no_import_of_torch() -> None:
    code = "import sys, pipeline.quantization.foreseen; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
