"""The one class that answers: parity is proven through it, a benchmark times it, the service calls it.

predictor = Predictor(bundle.artifact(), schema=schema, runtime="onnxruntime")
outputs = predictor.predict(rows)              # (batch, *schema.shape) -> (batch, outputs)
predictions = predictor.answers(outputs)       # [{"label": "3", "score": 0.98, "probabilities": {…}}, …]
"""

from typing import Any

import numpy as np

from serving import runtimes
from serving.bundle import Bundle, Golden, Runtime
from serving.errors import BundleError, InvalidInput, ServingError, first_line
from serving.schema import Array, Schema


class Predictor:
    """A loaded artifact with the schema that its rows and answers follow."""

    def __init__(self, artifact: bytes, *, schema: Schema, runtime: Runtime, threads: int = 1) -> None:
        """Load `artifact` and run it once, so that the first request pays for no lazy set-up.

        Raises BundleError when the artifact does not load, does not take the schema's rows or returns another shape.
        """
        self.schema = schema
        self._run = runtimes.load(artifact, runtime, threads=threads)
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
        return cls(bundle.artifact(), schema=description.schema, runtime=description.artifact.runtime, threads=threads)

    def predict(self, inputs: Array) -> Array:
        """Return probabilities (classification) or values in the target's unit (regression).

        inputs: (batch, *schema.shape) float32, raw values. Returns (batch, outputs) float32.
        Raises BundleError when the artifact returns another shape: a wrong artifact must not answer.
        """
        outputs = self._run(inputs)
        expected = (len(inputs), self.schema.outputs)
        if outputs.shape != expected:
            raise BundleError(f"the artifact returned shape {outputs.shape} where the schema promises {expected}")
        return outputs

    def answers(self, outputs: Array) -> list[dict[str, Any]]:
        """Turn (batch, outputs) into one JSON-ready prediction for each row.

        Raises InvalidInput when an answer is not finite, as after an overflow: no label follows from it, and JSON has no NaN.
        """
        finite = np.isfinite(outputs).all(axis=1)  # (batch,)
        if not finite.all():
            raise InvalidInput(
                f"row {int(finite.argmin())}: the model has no finite answer for these values; "
                "GET /info shows the range that it was trained on"
            )
        if self.schema.task == "regression":
            return [{"value": value} for (value,) in outputs.tolist()]
        classes = self.schema.classes
        best = outputs.argmax(axis=1).tolist()
        return [
            {"label": classes[index], "score": row[index], "probabilities": dict(zip(classes, row, strict=True))}
            for index, row in zip(best, outputs.tolist(), strict=True)
        ]

    def check(self, golden: Golden) -> None:
        """Replay golden requests; raise BundleError naming the first row whose answer is not the evaluated model's."""
        inputs, expected, count = _array(golden.inputs), _array(golden.outputs), len(golden.inputs)
        promised = (count, *self.schema.shape), (count, self.schema.outputs)
        if not count or (inputs.shape, expected.shape) != promised:
            raise BundleError(
                f"golden requests: shapes {inputs.shape} and {expected.shape} where the schema promises "
                f"{promised[0]} and {promised[1]}, and at least one row; export the run again"
            )
        found = self.predict(inputs)
        allowed = golden.atol + golden.rtol * np.abs(expected)
        wrong = ~(np.abs(found - expected) <= allowed)  # a NaN is wrong, too
        if wrong.any():
            row, column = (int(index) for index in np.argwhere(wrong)[0])
            raise BundleError(
                f"golden request {row}: output {column} is {found[row, column]:.6g}, the evaluated model gave "
                f"{expected[row, column]:.6g} (tolerance {allowed[row, column]:.2g})"
            )


def _array(rows: list[Any]) -> Array:
    try:
        return np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError):
        return np.empty(0, dtype=np.float32)  # ragged, or not numbers: a shape that nothing promises
