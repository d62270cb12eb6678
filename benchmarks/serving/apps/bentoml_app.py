# mypy: disable-error-code="import-not-found,import-untyped,misc,untyped-decorator,no-untyped-call"
"""BentoML: one worker, its access log off."""

from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType

from benchmarks.serving.apps.session import load


@bentoml.service(name="digits", workers=1, logging={"access": {"enabled": False}})
class Digits:
    """The model."""

    def __init__(self) -> None:
        self.run = load()

    @bentoml.api
    async def predict(self, inputs: Annotated[np.ndarray, DType("float32")]) -> np.ndarray:
        """(batch, 8, 8) -> (batch, 10)."""
        outputs: np.ndarray = self.run(inputs)
        return outputs
