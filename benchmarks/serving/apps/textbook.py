"""The textbook's service: Flask's own server, eager torch, request.get_json.

python -m benchmarks.serving.apps.textbook PREPARED TRAIN PORT
"""

import logging
import sys
from pathlib import Path

import torch
from flask import Flask, Response, jsonify, request

from pipeline.artifacts import Model, Prepared
from pipeline.training.deployed import deployable_of


def main() -> None:
    """Serve the model of a `train` folder; the rows of `prepare` say how it normalizes."""
    prepared, trained, port = sys.argv[1:]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    model = deployable_of(Prepared.open(Path(prepared)), Model.open(Path(trained))).eval()
    app = Flask("textbook")

    @app.post("/predict")
    def predict() -> Response:
        inputs = torch.tensor(request.get_json()["inputs"], dtype=torch.float32)
        with torch.no_grad():
            outputs = model(inputs)
        return jsonify({"outputs": outputs.tolist()})

    app.run(port=int(port))


if __name__ == "__main__":
    main()
