"""A trained network that quantizes badly: one channel is 1,000 times as large as the others, and the next layer undoes it."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.quantization.qat import architecture_of
from pipeline.stages import Outcome, stage_named
from pipeline.tracking import Tracker
from pipeline.training.weights import dump, load
from serving.schema import Feature, Schema
from tests.made import Made, _complete, prepared_of

FACTOR = 1000.0
NAMES = ("net.layers.4", "net.layers.7")  # the layer with the channel, and the one that undoes it
QUICK = ("model.hidden=[16,16,16,16,16]", "train.epochs=12", "train.lr=1e-2", "train.sanity=false")


def trained(root: Path, *words: str, formats: str = "[onnx,torchscript]") -> Made:
    """Train a network of 6 layers on 3 classes of a table, in a few seconds."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(900, 8)).astype(np.float32)
    classes = (np.tanh(inputs @ generator.normal(size=(8, 4))) @ generator.normal(size=(4, 3))).argmax(1)
    schema = Schema(
        task="classification",
        kind="table",
        shape=(8,),
        target="class",
        minimum=-5.0,
        maximum=5.0,
        classes=("a", "b", "c"),
        features=tuple(Feature(name, -5.0, 5.0) for name in "abcdefgh"),
    )
    prepared = prepared_of(root, inputs, classes.astype(np.int64), schema)
    made = Made(root, prepared, (*QUICK, f"export.formats={formats}", "export.bundle=onnx", *words), Tracker("test"))
    made.run("train")
    return made


def spoil(made: Made) -> None:
    """Multiply one channel of the second layer, and divide the next layer's weights for it: the answers stay."""
    path = made.root / "run" / "train" / "best.pt"
    payload = path.read_bytes()
    net = load(payload)
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        channel = int(linear[1].weight.norm(dim=1).argmax())
        linear[1].weight[channel] *= FACTOR
        linear[1].bias[channel] *= FACTOR
        linear[2].weight[:, channel] /= FACTOR
    path.write_bytes(dump(architecture_of(payload), net.state_dict()))
    (path.parent / "manifest.json").unlink()
    _complete(path.parent, "train")


def stage(made: Made, name: str, out: Path) -> Outcome:
    """Run export or quantize on the trained model alone."""
    out.mkdir(parents=True)
    taken = [made.model, None, None] + ([made.exported] if name == "quantize" else [])
    outcome = stage_named(name).run(made.config, made.prepared, *taken, out=out, tracker=made.tracker)
    _complete(out, name)
    return outcome
