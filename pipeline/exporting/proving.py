"""One artifact, from the module to the proof: written in a way whose file answers like the model on every validation row."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import torch

from pipeline.config.choice_sections import Format
from pipeline.errors import GateRefused
from pipeline.exporting.divergence import first_divergence
from pipeline.exporting.formats import RUNTIME, WAYS, CannotWrite, Metadata, Way, joined, write
from pipeline.exporting.parity import Parity, Tolerance, compare
from pipeline.models.deployable import Deployable
from serving.errors import first_line
from serving.predictor import Predictor
from serving.schema import Array, Schema


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What an artifact has to answer, and how nearly.

    inputs: (rows, *shape) raw. expected: (rows, outputs), the model's answers. tolerance: how nearly.
    """

    schema: Schema
    inputs: Array
    expected: Array
    batch_sizes: Sequence[int]
    tolerance: Tolerance

    def of(self, payload: bytes, form: Format) -> Parity:
        """Compare the answers of a file, through the Predictor that serves; raise GateRefused when it does not run."""
        try:
            predictor = Predictor(payload, schema=self.schema, runtime=RUNTIME[form])
            return compare(
                predictor.predict,
                self.inputs,
                self.expected,
                task=self.schema.task,
                batch_sizes=self.batch_sizes,
                tolerance=self.tolerance,
            )
        except Exception as error:  # a runtime raises what it likes on a file that it cannot run
            raise GateRefused(f"export: {form}: the file fails on validation rows: {first_line(error)}") from error


@dataclass(frozen=True)
class Proven:
    """A file with the way that it was written in, and its parity, which may have failed."""

    payload: bytes
    way: Way
    parity: Parity


def prove(
    deployable: Deployable,
    form: Format,
    proof: Proof,
    *,
    ways: Sequence[Way] | None = None,
    metadata: Metadata | None = None,
) -> Proven:
    """Write a model as `form` in the first way whose file answers like it; where none does, return the first that failed.

    ways: to be tried, in this order; None: all that the format has. What failed says in `parity.diverges` at which layer.
    Raises GateRefused when no way gives a file that runs.
    """
    example = torch.from_numpy(proof.inputs[:2])
    refused: list[GateRefused] = []
    failed: list[Proven] = []
    for way in WAYS[form] if ways is None else ways:
        try:
            payload = write(deployable, example, way, metadata=metadata)
            proven = Proven(payload, way, proof.of(payload, form))
        except GateRefused as error:
            refused.append(error)
            continue
        if proven.parity.passed:
            return proven
        failed.append(proven)
    if failed:
        first = failed[0]
        diverges = _diverges(deployable, first.payload, form, proof, first.parity)
        return Proven(first.payload, first.way, msgspec.structs.replace(first.parity, diverges=diverges))
    unwritten = [error for error in refused if isinstance(error, CannotWrite)]
    raise joined(unwritten) if len(unwritten) == len(refused) else refused[0]


def _diverges(deployable: Deployable, payload: bytes, form: Format, proof: Proof, parity: Parity) -> str:
    """Say at which layer a file leaves the model, on the batch with the worst row; what goes wrong here hides no refusal."""
    start = parity.worst.row // parity.worst.batch_size * parity.worst.batch_size
    rows = proof.inputs[start : start + parity.worst.batch_size]
    try:
        layer = first_divergence(deployable, payload, form, rows)
    except Exception as error:  # it runs a graph in ways that no runtime promises
        return f"which layer diverges first cannot be told: {first_line(error)}"
    if layer is None:
        return "no layer diverges when the model is given this very batch: do its answers to a row depend on the others?"
    return f"first diverging layer: {layer}"
