"""The one class that answers: parity is proven through it, a benchmark times it, the service calls it.

predictor = Predictor(bundle.artifact(), schema=schema, runtime="onnxruntime")
outputs = predictor.predict(rows)              # (batch, *schema.shape) -> (batch, outputs)
"""

from typing import Any

import numpy as np

from serving import runtimes
from serving.bundle import Bundle, Golden, Provider, Runtime
from serving.columns import Encoder, Unfit
from serving.errors import BundleError, InvalidInput, ServingError, first_line
from serving.images import decode
from serving.onnx_file import refuse_external_data
from serving.schema import Array, Schema


class Predictor:
    """A loaded artifact with the schema that its rows and answers follow."""

    def __init__(
        self, artifact: bytes, *, schema: Schema, runtime: Runtime, threads: int = 1, provider: Provider = "cpu"
    ) -> None:
        """Load `artifact` and run it once, so that the first request pays for no lazy set-up.

        provider: what an ONNX file is computed by, and nothing in its place. Raises BundleError when the artifact does not load
        on it, does not take the schema's rows or returns another shape.
        """
        self.schema = schema
        self._run = runtimes.load(artifact, runtime, threads=threads, provider=provider)
        try:
            self.predict(np.zeros((1, *schema.shape), dtype=np.float32))
        except ServingError:
            raise
        except Exception as error:  # each runtime raises its own
            reason = first_line(error)
            raise BundleError(f"the artifact does not run on a row of shape {schema.shape}: {reason}") from error

    @classmethod
    def from_bundle(cls, bundle: Bundle, *, threads: int = 1) -> "Predictor":
        """Load the artifact of a verified bundle."""
        description = bundle.description
        artifact = bundle.artifact()
        if description.artifact.runtime == "onnxruntime":
            refuse_external_data(artifact, description.artifact.file)
        return cls(
            artifact,
            schema=description.schema,
            runtime=description.artifact.runtime,
            threads=threads,
            provider=description.artifact.provider,
        )

    def predict(self, inputs: Array) -> Array:
        """Return probabilities (classification, multilabel) or values in the target's unit (regression).

        inputs: (batch, *schema.shape) float32, raw values. Returns (batch, outputs) float32.
        Raises BundleError when the artifact returns another shape: a wrong artifact must not answer.
        """
        outputs = self._run(inputs)
        expected = (len(inputs), self.schema.outputs)
        if outputs.shape != expected:
            raise BundleError(f"the artifact returned shape {outputs.shape} where the schema promises {expected}")
        return outputs

    def check(self, golden: Golden) -> None:
        """Replay golden requests; raise BundleError naming the first row whose answer is not the evaluated model's."""
        self._replay("request", golden.inputs, self._rows(golden.inputs), golden.outputs, golden)
        if golden.pictures or golden.picture_outputs:
            self._replay("picture", golden.pictures, self._pictures(golden.pictures), golden.picture_outputs, golden)

    def _rows(self, rows: list[Any]) -> Array:
        """Return golden rows as numbers, through the encoder that requests go through."""
        if self.schema.plain:
            return _array(rows)
        try:
            return Encoder(self.schema).encode(rows)
        except Unfit as error:
            name = self.schema.features[error.column].name
            raise BundleError(f"golden request {error.index}: {name!r}: {error}; export the run again") from error
        except (TypeError, ValueError) as error:  # rows that are too short, or no rows
            raise BundleError(f"golden requests: {first_line(error)}; export the run again") from error

    def _pictures(self, pictures: list[bytes]) -> Array:
        """Return golden pictures as numbers, through the function that reads uploads."""
        if self.schema.picture is None:
            raise BundleError("golden pictures: the schema says that this model takes none; export the run again")
        height, width = self.schema.shape[-2:]
        try:
            found = [decode(picture, mode=self.schema.picture, size=(height, width)) for picture in pictures]
        except InvalidInput as error:
            raise BundleError(f"golden pictures: {error}; export the run again") from error
        return np.stack(found) if found else _array([])

    def _replay(self, what: str, given: list[Any], inputs: Array, outputs: list[Any], golden: Golden) -> None:
        expected, count = _array(outputs), len(given)
        promised = (count, *self.schema.shape), (count, self.schema.outputs)
        if not count or (inputs.shape, expected.shape) != promised:
            raise BundleError(
                f"golden {what}s: shapes {inputs.shape} and {expected.shape} where the schema promises "
                f"{promised[0]} and {promised[1]}, and at least one row; export the run again"
            )
        found = self.predict(inputs)
        allowed = np.asarray(golden.atol) + golden.rtol * np.abs(expected - np.asarray(golden.center or 0.0))
        wrong = ~(np.abs(found - expected) <= allowed)  # a NaN is wrong, too
        if wrong.any():
            row, column = (int(index) for index in np.argwhere(wrong)[0])
            raise BundleError(
                f"golden {what} {row}: output {column} is {found[row, column]:.6g}, the evaluated model gave "
                f"{expected[row, column]:.6g} (tolerance {allowed[row, column]:.2g})"
            )


def _array(rows: list[Any]) -> Array:
    try:
        return np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError):
        return np.empty(0, dtype=np.float32)  # ragged, or not numbers: a shape that nothing promises
