"""What a model's inputs and outputs are called, and what they hold: said by metadata, kept to by the codec."""

from dataclasses import dataclass

from serving.schema import ColumnKind, Schema

WHOLE = "inputs"  # the one input that holds whole rows
_OF_KIND: dict[ColumnKind, str] = {"number": "FP64", "boolean": "BOOL", "category": "BYTES", "date": "BYTES"}


@dataclass(frozen=True, slots=True)
class Port:
    """A tensor as metadata describes it; -1 in `shape` is the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def inputs_of(schema: Schema) -> list[Port]:
    """Return the inputs of a model."""
    if schema.plain:
        return [Port(WHOLE, "FP32", (-1, *schema.shape))]
    return [Port(feature.name, _OF_KIND[feature.kind], (-1, 1)) for feature in schema.features]


def outputs_of(schema: Schema) -> list[Port]:
    """Return the outputs of a model, in the order in which they are answered."""
    if schema.task == "regression":
        return [Port("values", "FP32", (-1, schema.outputs))]
    probabilities = Port("probabilities", "FP32", (-1, schema.outputs))
    return [probabilities, Port("label", "BYTES", (-1,))] if schema.task == "classification" else [probabilities]
