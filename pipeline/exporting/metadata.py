"""What every artifact says about itself, wherever it is copied to: what a row and an answer are, and what it was made from.

In ONNX: metadata_props under `slipway.*`, each a JSON text. In TorchScript and torch.export: an extra file `slipway.json` with
the same keys, without `slipway.`. Nothing in it depends on when or in which run it was written: the same weights and rows give
the same file.
"""

from typing import Any

import msgspec

from pipeline.artifacts import Model, Precision, Prepared

FORMAT_VERSION = 1


def metadata_of(prepared: Prepared, checkpoint: str, *, precision: Precision = "fp32") -> dict[str, Any]:
    """Return the metadata of an artifact as JSON-ready values; checkpoint: sha256 of the weights that it holds."""
    schema = prepared.schema
    return {
        "format_version": FORMAT_VERSION,
        "schema": msgspec.to_builtins(schema),
        "classes": list(schema.classes),  # in the schema, too; here for those who want nothing else
        "precision": precision,
        "digests": {
            "data": prepared.digest,
            "statistics": prepared.manifest.makes[Prepared.STATISTICS].sha256,
            "checkpoint": checkpoint,
        },
    }


def checkpoint_of(model: Model) -> str:
    """Return the sha256 of a model's weights."""
    return model.manifest.makes[Model.BEST].sha256
