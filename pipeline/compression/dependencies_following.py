"""Runs a traced network node by node and notes which channel each position of each tensor's feature axis belongs to."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from pipeline.compression.dependencies_channels import Channels, Label, Numbers, Role, Slot, aligned
from pipeline.compression.dependencies_operations import (
    KEEPING,
    SHIFTING,
    moved_axis,
    name_of,
    operation_of,
    pools_over,
    width_is_written,
)

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_NORMALIZING = ("weight", "bias", "running_mean", "running_var")
INPUT, ANSWER = "it is joined with the model's input", "its outputs are joined with the model's answers"


class Follower(fx.Interpreter):
    """An interpreter that labels what it computes. `slots` and `made` (layer → its output channels) are the result."""

    def __init__(self, module: fx.GraphModule, channels: Channels) -> None:
        """Follow `module`, numbering in `channels`."""
        super().__init__(module)
        self.channels, self.slots = channels, list[Slot]()
        self.made: dict[str, Numbers] = {}
        self._labels: dict[fx.Node, Label | None] = {}
        self._shapes: dict[fx.Node, tuple[int, ...]] = {}
        self._known: dict[str, tuple[Numbers, Numbers]] = {}  # what a layer read and gave when it was first called

    def run_node(self, n: fx.Node) -> Any:
        """Compute a node, and label the result."""
        value = super().run_node(n)
        label = self._label(n, value) if isinstance(value, Tensor) else None
        self._labels[n] = None if label is None else replace(label, shape=tuple(value.shape))
        self._shapes[n] = tuple(value.shape) if isinstance(value, Tensor) else ()
        if n.op == "output":
            self._freeze(n, ANSWER)
        elif label is None and (isinstance(value, Tensor) or operation_of(n) != "ask"):
            what = str(n.target) if n.op == "call_module" else f"{name_of(n)}()"
            self._freeze(n, f"what {what} does with its channels is not known")
        return value

    def _label(self, node: fx.Node, value: Tensor) -> Label | None:
        """Return the label of a result; None where it is not known which channels it has."""
        match node.op:
            case "placeholder":
                return Label(self._fixed(value.shape[1]), 1, ())
            case "call_module":
                return self._of_module(node, value)
            case "call_function" | "call_method":
                return self._of_operation(node, value)
        return None

    def _of_module(self, node: fx.Node, value: Tensor) -> Label | None:
        path = str(node.target)
        module, given, label = self.fetch_attr(path), self._given(node), None
        kind = type(module)
        convolves = kind in _CONVOLUTIONS and value.ndim == module.weight.ndim
        if kind is nn.Linear:
            label = self._making(path, module, given, value.ndim - 1)
        elif convolves and module.groups == 1:
            label = self._making(path, module, given, 1)
        elif kind is nn.Embedding and module.max_norm is None:
            label = self._looking_up(path, module, value)
        elif given is None:
            label = None
        elif convolves and module.groups == module.in_channels == module.out_channels:
            label = self._changing(path, {"weight": "makes", "bias": "adds"}, module, given)
        elif kind in _NORMALIZATIONS and given.axis == 1:
            label = self._changing(path, dict.fromkeys(_NORMALIZING, "normalizes"), module, given)
        elif kind is nn.Flatten:
            label = self._reshaped(node, given, value)
        elif kind in (*KEEPING, *SHIFTING) and not pools_over(kind.__name__, given):
            label = replace(given, zero=given.zero and kind in KEEPING)
        return label

    def _of_operation(self, node: fx.Node, value: Tensor) -> Label | None:
        given, operation, label = self._given(node), operation_of(node), None
        if operation == "concatenate":
            label = self._concatenated(node, value)
        elif operation == "combine":
            label = self._combined(node, value)
        elif given is None:
            label = None
        elif operation in {"keep", "shift"} and not pools_over(name_of(node), given):
            label = replace(given, zero=given.zero and operation == "keep")
        elif operation == "reshape":
            label = self._reshaped(node, given, value)
        elif operation == "move" and (axis := moved_axis(node, given, value)) is not None:
            label = replace(given, axis=axis)
        return label

    def _making(self, path: str, module: Any, given: Label | None, axis: int) -> Label:
        """Label the outputs of a layer that mixes its inputs: new channels, unless it was called before."""
        count = module.weight.shape[1]
        if given is not None and given.axis == axis and len(given.numbers) == count:
            read = given.numbers
            if not given.zero:
                self.channels.freeze(read, f"a channel of zeros is not zero where {path} reads it")
        else:
            if given is not None:
                self.channels.freeze(given.numbers, f"{path} reads another axis of its outputs")
            read = self._fixed(count)
        if path in self._known:
            known, numbers = self._known[path]
            self.channels.join(known, read)
        else:
            numbers = self.channels.new(len(module.weight))
            self._known[path], self.made[path] = (read, numbers), numbers
            self.slots += [Slot(path, "weight", 0, numbers, "makes"), Slot(path, "weight", 1, read, "reads")]
            if module.bias is not None:
                self.slots.append(Slot(path, "bias", 0, numbers, "adds"))
        return Label(numbers, axis, ())

    def _looking_up(self, path: str, module: nn.Embedding, value: Tensor) -> Label:
        if path not in self.made:
            self.made[path] = self.channels.new(module.embedding_dim)
            self.slots.append(Slot(path, "weight", 1, self.made[path], "makes"))
        return Label(self.made[path], value.ndim - 1, ())

    def _changing(self, path: str, tensors: Mapping[str, Role], module: Any, given: Label) -> Label:
        """Pass channels through a layer with numbers of its own for each of them."""
        if path in self._known:
            self.channels.join(self._known[path][0], given.numbers)
        else:
            self._known[path] = given.numbers, given.numbers
            self.slots += [
                Slot(path, name, 0, given.numbers, role) for name, role in tensors.items() if getattr(module, name) is not None
            ]
        if not given.zero:
            self.channels.freeze(given.numbers, f"a channel of zeros is not zero where {path} reads it")
        return given

    def _concatenated(self, node: fx.Node, value: Tensor) -> Label | None:
        """Put channels behind each other; a part without a label has numbers that nothing will change."""
        listed = node.args[0] if node.args else node.kwargs.get("tensors")
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if not isinstance(listed, tuple | list) or not isinstance(dim, int):
            return None
        axis = dim % value.ndim
        labels = [self._labels[part] for part in listed if isinstance(part, fx.Node)]
        known = [label for label in labels if label is not None]
        if not known or len(labels) < len(listed) or any(label.axis != axis for label in known):
            return None
        parts = zip(labels, [self._shapes[part][axis] for part in listed], strict=True)
        numbers = np.concatenate([self._fixed(width) if label is None else label.numbers for label, width in parts])
        return Label(numbers, axis, (), zero=all(label.zero for label in known))

    def _combined(self, node: fx.Node, value: Tensor) -> Label | None:
        """Label a sum, difference, product or quotient, number by number."""
        name, operands = name_of(node), node.args
        if len(operands) != 2 or node.kwargs:
            return None
        adds, divides = name in {"add", "sub", "subtract"}, name in {"truediv", "div", "divide"}
        labels = [self._labels.get(one) if isinstance(one, fx.Node) else None for one in operands]
        numbers = [one for one in operands if isinstance(one, int | float)]
        first, second = labels
        if numbers and (given := first or second) is not None and not (divides and first is None):
            return replace(given, zero=given.zero and not (adds and numbers[0] != 0))
        if first is None or second is None or divides or not aligned(first, second):
            return None
        self.channels.join(first.numbers, second.numbers)
        zero = first.zero and second.zero if adds else first.zero or second.zero
        return Label(first.numbers, value.ndim - (len(first.shape) - first.axis), (), zero=zero)

    def _reshaped(self, node: fx.Node, given: Label, value: Tensor) -> Label | None:
        before, after, axis = given.shape, tuple(value.shape), given.axis
        if before[:axis] != after[:axis] or (node.op != "call_module" and width_is_written(node, axis)):
            return None
        if before == after:
            return given
        if len(after) == axis + 1:  # each channel becomes as many neighbors as it had numbers
            return replace(given, numbers=np.repeat(given.numbers, int(np.prod(before[axis + 1 :]))))
        return given if before[: axis + 1] == after[: axis + 1] else None

    def _given(self, node: fx.Node) -> Label | None:
        """Return the label of what a node takes first, unless it takes another labeled tensor beside it."""
        labeled = [label for one in node.all_input_nodes if (label := self._labels.get(one)) is not None]
        return labeled[0] if len(labeled) == 1 else None

    def _freeze(self, node: fx.Node, why: str) -> None:
        for one in node.all_input_nodes:
            if (label := self._labels.get(one)) is not None:
                self.channels.freeze(label.numbers, why)

    def _fixed(self, count: int) -> Numbers:
        numbers = self.channels.new(count)
        self.channels.freeze(numbers, INPUT)
        return numbers
