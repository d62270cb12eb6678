"""Models by name: an architecture is a name and JSON arguments, never a pickled module.

net = build(Architecture("mlp", input_shape=(30,), outputs=2, args={"hidden": [64, 32]}))
"""

import importlib.util
import linecache
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from torch import nn

from pipeline.errors import UserError
from pipeline.models.cnn import Cnn
from pipeline.models.embeddings import Embedded
from pipeline.models.mlp import Mlp
from pipeline.models.resized import resized
from pipeline.models.resnet import Resnet
from serving.errors import first_line

MODELS: dict[str, Callable[..., nn.Module]] = {"mlp": Mlp, "cnn": Cnn, "resnet": Resnet}
CUSTOM = "custom"
_FILE = "custom_model.py"


class Architecture(msgspec.Struct, frozen=True):
    """Everything needed to build a network but its weights. `args` of a custom model hold its `class` and its own `args`.

    input_shape: of a preprocessed row, whose last values are codes of categories, one for each of `embeddings`: (rows, width)
    of the table that turns a code into a vector. shapes: of each parameter and buffer that has another one than the arguments
    say, after pruning.
    """

    name: str
    input_shape: tuple[int, ...]
    outputs: int
    args: dict[str, Any]
    embeddings: tuple[tuple[int, int], ...] = ()
    shapes: dict[str, tuple[int, ...]] = {}


def build(architecture: Architecture, *, source: bytes | None = None) -> nn.Module:
    """Build an untrained network; `source` is the text of a custom model's file.

    A network with embeddings is built for the dense values and the vectors, and wrapped. Raises UserError when a custom file
    or class cannot be used, or does not return (batch, outputs).
    """
    if architecture.shapes:
        whole = build(msgspec.structs.replace(architecture, shapes={}), source=source)
        return resized(whole, architecture.shapes)
    if architecture.embeddings:
        (values,) = architecture.input_shape
        dense = values - len(architecture.embeddings) + sum(width for _, width in architecture.embeddings)
        inner = msgspec.structs.replace(architecture, input_shape=(dense,), embeddings=())
        return Embedded(build(inner, source=source), architecture.embeddings)
    if architecture.name != CUSTOM:
        return MODELS[architecture.name](architecture.input_shape, architecture.outputs, **architecture.args)
    if source is None:
        raise UserError("model: a custom model needs the text of its file")
    kind = _class_from(source, architecture.args["class"])
    arguments = architecture.args["args"]
    try:
        net = kind(input_shape=architecture.input_shape, outputs=architecture.outputs, **arguments)
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        raise UserError(
            f"model.class: {architecture.args['class']}(input_shape={architecture.input_shape}, outputs={architecture.outputs}"
            f"{''.join(f', {name}={value!r}' for name, value in arguments.items())}) failed: {first_line(error)}"
        ) from error
    if not isinstance(net, nn.Module):
        raise UserError(f"model.class: {architecture.args['class']} is no torch.nn.Module")
    return net


def raised_in_users_file(error: BaseException) -> bool:
    """Return whether an error came through a custom model's file."""
    return any(Path(frame.filename).name == _FILE for frame in traceback.extract_tb(error.__traceback__))


def _class_from(source: bytes, name: str) -> Any:
    """Import the text of a file and return one of its classes."""
    with TemporaryDirectory() as folder:
        path = Path(folder, _FILE)
        path.write_bytes(source)
        # TorchScript reads the text of a class, whose file is gone by then.
        linecache.cache[str(path)] = (len(source), None, source.decode(errors="replace").splitlines(keepends=True), str(path))
        spec = importlib.util.spec_from_file_location("slipway_custom_model", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses and TorchScript look a class's module up by name
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # the user's own code may raise anything
            raise UserError(f"model.file: importing it failed: {first_line(error)}") from error
    found = getattr(module, name, None)
    if found is None:
        classes = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)]
        raise UserError(f"model.class: the file has no {name!r}; its modules are: {', '.join(classes) or 'none'}")
    return found
