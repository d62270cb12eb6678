"""Static int8 ONNX: ranges of activations are found on train rows, and stand in the file as pairs of Q and DQ nodes.

Only layers that multiply are quantized, with a weight scale for each output channel (Krishnamoorthi 2018); what comes before
and after the network stays float. A ReLU behind a layer is absorbed by the lower end of the layer's range.
"""

import contextlib
import io
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

from pipeline.errors import UserError
from pipeline.quantization.arithmetic import Arithmetic
from pipeline.quantization.bounded import Calibration, Unquantizable
from pipeline.quantization.onnx_graph import MULTIPLYING, layers_of, prepared, saved, serialized
from serving.errors import first_line
from serving.schema import Array

try:
    from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data
except ImportError as error:
    raise UserError(
        "quantize: the onnxruntime that is installed is too old to quantize, as packages with other providers may be; quantize "
        "with the one that the project pins, and install the other one afterward, or leave int8 out of benchmark.precisions"
    ) from error

_ABSORBED = ("Relu", "Clip")
_ROWS = 64  # answered at once; the quantizer keeps every activation of them
_METHODS: dict[str, tuple[CalibrationMethod, dict[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    # Migacz 2017 at a quarter of its bins: the quantizer's own default has a single threshold to choose from, 2048 bins take
    # seconds for each tensor.
    "entropy": (CalibrationMethod.Entropy, {"num_bins": 512, "num_quantized_bins": 128}),
    # One value in 2,000 is cut at either end; the default, one in 200,000, is none of a few hundred rows.
    "percentile": (CalibrationMethod.Percentile, {"num_bins": 2048, "percentile": 99.9, "symmetric": False}),
}
_TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}


class OnnxStatic:
    """A `Subject`: see `opened`."""

    def __init__(self, path: Path, rows: Array, arithmetic: Arithmetic, calibrations: Sequence[str]) -> None:
        """path: of a prepared model, in a folder for files that come and go; rows: (rows, *shape) raw train rows."""
        self._path, self._rows, self._arithmetic = path, rows, arithmetic
        self._nodes = {name: node.name for name, node in layers_of(onnx.load(path), constant=False).items()}
        self.layers: Sequence[str] = list(self._nodes)
        self.calibrations: Sequence[Calibration] = tuple(calibrations)

    @classmethod
    @contextmanager
    def opened(cls, payload: bytes, rows: Array, arithmetic: Arithmetic, calibrations: Sequence[str]) -> Iterator["OnnxStatic"]:
        """Prepare an exported float file for a while. rows: (rows, *shape) raw train rows, for ranges."""
        with saved(prepared(payload)) as path:
            yield cls(path, rows, arithmetic, calibrations)

    def quantized(self, calibration: Calibration, *, floats: Collection[str]) -> bytes:
        """Return the file with all layers quantized but those in `floats`; raises Unquantizable."""
        assert calibration is not None
        target = self._path.with_name("int8.onnx")
        try:
            with _quiet():
                quantize_static(
                    str(self._path),
                    str(target),
                    op_types_to_quantize=[*MULTIPLYING, *_ABSORBED],
                    per_channel=True,
                    reduce_range=self._arithmetic.reduce_range,
                    activation_type=_TYPES[self._arithmetic.activations],
                    weight_type=_TYPES[self._arithmetic.weights],
                    nodes_to_exclude=[self._nodes[name] for name in floats],
                    calibrate_method=_METHODS[calibration][0],
                    calibration_cache_path=self._ranges(calibration),
                )
        except Exception as error:  # the quantizer raises what it likes on graphs that it does not know
            raise Unquantizable(f"onnxruntime cannot quantize it: {first_line(error)}") from error
        return serialized(onnx.load(target))

    def _ranges(self, calibration: str) -> Path:
        """Return the file with the range of each activation, which is found when it is first asked for."""
        path = self._path.with_name(f"{calibration}.json")
        if not path.is_file():
            method, options = _METHODS[calibration]
            calibrator = create_calibrator(
                self._path,
                [*MULTIPLYING, *_ABSORBED],
                augmented_model_path=str(self._path.with_name(f"{calibration}.onnx")),
                calibrate_method=method,
                extra_options=options,
            )
            for start in range(0, len(self._rows), _ROWS):
                calibrator.collect_data(
                    _Reader(calibrator.infer_session.get_inputs()[0].name, self._rows[start : start + _ROWS])
                )
            save_tensors_data(calibrator.compute_data(), path)
        return path


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """One batch of rows, as the calibrator asks for it."""

    def __init__(self, name: str, rows: Array) -> None:
        self._batches = iter([{name: rows}])

    def get_next(self) -> dict[str, Array] | None:
        """Return the next batch, None after the last one."""
        return next(self._batches, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer's progress and NumPy's remarks on its histograms of constants to itself; what fails is raised."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
