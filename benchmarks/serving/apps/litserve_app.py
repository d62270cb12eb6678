# mypy: disable-error-code="import-not-found,import-untyped,misc,untyped-decorator,no-untyped-call"
"""LitServe: its four words for inference. One HTTP process and one worker, as it starts by default.

python -m benchmarks.serving.apps.litserve_app PORT
"""

import sys
from typing import Any

import litserve
import numpy as np

from benchmarks.serving.apps.session import load


class Digits(litserve.LitAPI):
    """The model."""

    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's signature
        """Load in the worker."""
        self.run = load()

    def decode_request(self, request: dict[str, Any]) -> Any:
        """Return (batch, 8, 8)."""
        return np.asarray(request["inputs"], dtype=np.float32)

    def predict(self, x: Any) -> Any:
        """Return (batch, 10)."""
        return self.run(x)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Return the JSON to be."""
        return {"outputs": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Digits(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="error")
