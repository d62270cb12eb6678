"""Which channels of a network stand and fall together: found by running a trace of it, with no list of architectures.

found = find_dependencies(net, inputs)          # inputs: (2 or more rows, *shape)
found.blocks                                    # channels that may go, and the layers that compute them
found.whole                                     # layer → why it stays as it is

A residual sum makes channels of two layers one; a convolution before a linear layer feeds height times width of its inputs
for each channel. (The idea of dependency groups: Fang et al. 2023, "DepGraph: Towards Any Structural Pruning".)
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from pipeline.compression.dependencies_channels import Channels, Numbers, Slot
from pipeline.compression.dependencies_following import Follower
from pipeline.errors import GateRefused, UserError
from pipeline.training.randomness import kept_rng
from serving.errors import first_line


@dataclass(frozen=True)
class Block:
    """Channels that the same layers compute; what is kept of them is rounded as one. channels: (channels,), unique."""

    layers: tuple[str, ...]
    channels: Numbers


@dataclass(frozen=True)
class Dependencies:
    """slots: every axis of a tensor that has channels, numbered. widths: outputs of each layer."""

    slots: tuple[Slot, ...]
    blocks: tuple[Block, ...]
    widths: dict[str, int]
    whole: dict[str, str]

    def sparing(self, names: Sequence[str]) -> "Dependencies":
        """Return the same without the blocks that layers of these names, or below them, belong to.

        Raises UserError for a name of no layer that has channels.
        """

        def below(layer: str, name: str) -> bool:
            return layer == name or layer.startswith(f"{name}.")

        def spared(block: Block) -> bool:
            return any(below(layer, name) for layer in block.layers for name in names)

        for name in names:
            if not any(below(layer, name) for layer in self.widths):
                layers = ", ".join(self.widths)
                raise UserError(f"prune.whole: the model has no layer {name!r} with channels; there are {layers}")
        why = "prune.whole names it, or a layer that shares its channels"
        whole = self.whole | {layer: why for block in self.blocks if spared(block) for layer in block.layers}
        blocks = tuple(block for block in self.blocks if not spared(block))
        return replace(self, blocks=blocks, whole=whole)


def find_dependencies(net: nn.Module, inputs: Tensor) -> Dependencies:
    """Follow the channels of `net`, in eval mode, on rows (2 or more, *shape).

    Raises GateRefused when the network as a whole cannot be traced; a part of it that cannot is left whole.
    """
    tracer = _PartsTracer()
    was_training = net.training
    net.eval()
    try:
        with kept_rng(), torch.no_grad():
            traced = fx.GraphModule(net, tracer.trace(net))
            if tracer.opaque:  # what a part did before its trace failed; elsewhere a step without a reader may act in place
                traced.graph.eliminate_dead_code()
            channels = Channels()
            follower = Follower(traced, channels)
            follower.run(inputs)
    except Exception as error:  # a user's forward() may raise anything when it gets a symbol instead of numbers
        raise GateRefused(
            f"prune: the model cannot be traced, so all of it is left whole: {first_line(error)}; write forward() without "
            "branches on values, or set prune.method=unstructured"
        ) from error
    finally:
        net.train(was_training)
    whole = dict(_not_plain(net, traced.graph, tracer.opaque))
    for slot in follower.slots:
        if slot.layer in whole:
            channels.freeze(slot.numbers, whole[slot.layer])
    return _resolved(net, follower, whole, tracer.opaque)


class _PartsTracer(fx.Tracer):
    """A tracer that takes a module which it cannot trace for one opaque step. opaque: its path → why."""

    def __init__(self) -> None:
        super().__init__()
        self.opaque: dict[str, str] = {}

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Trace into a module, or note that it cannot be."""
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception as error:  # as above
            path = self.path_of_module(m)
            self.opaque[path] = f"it cannot be traced: {first_line(error)}"
            return self.create_proxy("call_module", path, args, kwargs)


def _not_plain(net: nn.Module, graph: fx.Graph, opaque: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield layers whose weights are used in other ways than by calling the layer, and why they stay."""
    owners = Counter(id(p) for module in net.modules() for p in module.parameters(recurse=False))
    touched = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    hidden = {id(inner) for path in opaque for inner in net.get_submodule(path).modules()}
    for path, module in net.named_modules():
        if any(owners[id(p)] > 1 for p in module.parameters(recurse=False)):
            yield path, "it shares its weights with another layer"
        elif path in touched and list(module.parameters(recurse=False)):
            yield path, "forward() uses its weights directly"
        elif id(module) in hidden:
            yield path, next((why for part, why in opaque.items() if f"{path}.".startswith(f"{part}.")), "it cannot be traced")
        elif module._forward_hooks or module._forward_pre_hooks:  # noqa: SLF001  # torch has no other way to ask
            yield path, "hooks act on it"


def _resolved(net: nn.Module, follower: Follower, whole: dict[str, str], opaque: dict[str, str]) -> Dependencies:
    """Return slots by set, the sets that may go, and why the other layers stay."""
    channels, made = follower.channels, follower.made
    slots = tuple(replace(slot, numbers=channels.roots(slot.numbers)) for slot in follower.slots)
    reasons, by_layer = channels.reasons(), {layer: channels.roots(numbers) for layer, numbers in made.items()}
    makers: dict[int, list[str]] = defaultdict(list)
    for layer, numbers in by_layer.items():
        for number in np.unique(numbers).tolist():
            makers[number].append(layer)
    blocks: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, layers in makers.items():
        if number not in reasons:
            blocks[tuple(layers)].append(number)
    for layer, numbers in by_layer.items():
        if all(number in reasons for number in numbers.tolist()):
            whole.setdefault(layer, reasons[int(numbers[0])])
    known = {slot.layer for slot in slots}
    for path, module in net.named_modules():
        if path not in known and path not in whole and list(module.parameters(recurse=False)):
            whole[path] = f"how its channels, of a {type(module).__name__}, hang together is not known"
    whole |= opaque
    return Dependencies(
        slots,
        tuple(Block(layers, np.array(numbers)) for layers, numbers in blocks.items()),
        {layer: len(numbers) for layer, numbers in made.items()},
        {layer: whole[layer] for layer in whole if layer in made or layer in opaque or layer not in known},
    )
