"""What a config alone shows of `quantize`: which files it could make at all. Imports no torch."""

from typing import Literal

from pipeline.config import Config
from pipeline.config.choice_sections import Format
from pipeline.errors import UserError

Method = Literal["static", "dynamic"]


def applies(form: Format, method: Method) -> bool:
    """Return whether a format can be quantized this way: torch's dynamic layers scale a whole batch by its largest value."""
    return method == "static" or form == "onnx"


def check_quantize(config: Config) -> None:
    """Raise UserError where no format that is exported is to be quantized in a way that it can be."""
    section, exported = config.quantize, config.export.formats
    wanted = [form for form in section.formats if any(applies(form, method) for method in section.methods)]
    if not set(wanted) & set(exported):
        raise UserError(
            f"quantize.formats: {', '.join(wanted)} by quantize.methods=[{', '.join(section.methods)}], and "
            f"export.formats=[{', '.join(exported)}] writes no such file; add {wanted[0]} to export.formats, or "
            "leave int8 out of benchmark.precisions"
        )
