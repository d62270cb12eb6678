# mypy: disable-error-code="import-not-found,import-untyped,misc,untyped-decorator,no-untyped-call"
"""MLServer: it has no runtime for ONNX, so this is one."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.serving.apps.session import load


class Onnx(MLModel):
    """One input, one output."""

    async def load(self) -> bool:
        """Load the model."""
        self.run = load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer a request of the Open Inference Protocol."""
        outputs = self.run(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("outputs", outputs)])
