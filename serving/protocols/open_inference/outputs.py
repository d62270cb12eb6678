"""From the model's answers to the tensors that a client asked for, as JSON or as bytes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from serving.answers import refuse_not_finite
from serving.errors import InvalidInput
from serving.exchange import Reply
from serving.facts import ModelFacts
from serving.protocols.open_inference.ports import outputs_of
from serving.protocols.open_inference.wire import HEADER_LENGTH, Wanted, shown
from serving.schema import Array

_BINARY = "application/octet-stream"
_LABEL = "label"

Chosen = tuple[tuple[str, bool], ...]  # name, and whether it travels in binary; in the order of the answer


class Outputs:
    """Answers for one model."""

    def __init__(self, facts: ModelFacts) -> None:
        """Take what the answers are called."""
        self._classes = facts.schema.classes
        self._packed = [len(text).to_bytes(4, "little") + text for text in (label.encode() for label in self._classes)]
        self._ports = {port.name: port for port in outputs_of(facts.schema)}
        self._all = {binary: tuple((name, binary) for name in self._ports) for binary in (False, True)}
        self._head = {
            "model_name": facts.description.name,
            "model_version": facts.description.version,
            "parameters": {"digest": facts.digest},
        }

    def choose(self, wanted: Sequence[Wanted] | None, *, binary: bool) -> Chosen:
        """Return what to answer. wanted: nothing for all. binary: what holds where an output does not say it."""
        if not wanted:
            return self._all[binary]
        chosen: dict[str, bool] = {}
        for index, one in enumerate(wanted):
            field = f"outputs[{index}]"
            if one.name not in self._ports:
                names = ", ".join(self._ports)
                raise InvalidInput(f"no output is called {shown(one.name)}; this model has {names}", field=f"{field}.name")
            if one.name in chosen:
                raise InvalidInput(f"{shown(one.name)} is there twice", field=f"{field}.name")
            chosen[one.name] = _is_binary(one, field, binary)
        return tuple(chosen.items())

    def encoder(self, chosen: Chosen, request_id: str | None, vendor: str | None) -> Callable[[Array], Reply]:
        """Return what turns (batch, outputs) into a reply; it raises InvalidInput for an answer that is not finite."""
        return partial(self._encode, chosen, request_id, vendor)

    def _encode(self, chosen: Chosen, request_id: str | None, vendor: str | None, outputs: Array) -> Reply:
        refuse_not_finite(outputs)
        tensors, parts = [], []
        for name, binary in chosen:
            port = self._ports[name]
            tensor: dict[str, Any] = {"name": name, "datatype": port.datatype, "shape": [len(outputs), *port.shape[1:]]}
            tensors.append(tensor)
            if binary:
                parts.append(self._bytes(name, outputs))
                tensor["parameters"] = {"binary_data_size": len(parts[-1])}
            else:
                tensor["data"] = self._labels(outputs) if name == _LABEL else outputs.ravel().tolist()
        answer = {**self._head, **({"id": request_id} if request_id else {}), "outputs": tensors}
        text = msgspec.json.encode(answer)
        if not parts:
            return Reply(200, text)
        kind = _BINARY if vendor is None else f"{vendor};json-header-size={len(text)}"
        return Reply(200, b"".join((text, *parts)), kind, [(HEADER_LENGTH, str(len(text)))])

    def _bytes(self, name: str, outputs: Array) -> bytes:
        if name == _LABEL:
            return b"".join([self._packed[best] for best in outputs.argmax(axis=1).tolist()])
        return outputs.astype("<f4", copy=False).tobytes()

    def _labels(self, outputs: Array) -> list[str]:
        return [self._classes[best] for best in outputs.argmax(axis=1).tolist()]


def _is_binary(wanted: Wanted, field: str, default: bool) -> bool:
    parameters = wanted.parameters or {}
    if parameters.get("classification"):
        raise InvalidInput(
            "the classification extension is not offered; ask for `label`", field=f"{field}.parameters.classification"
        )
    if any(name.startswith("shared_memory") for name in parameters):
        raise InvalidInput("shared memory is not offered; the answer is in the reply", field=f"{field}.parameters")
    return flag(parameters.get("binary_data"), default, f"{field}.parameters.binary_data")


def flag(value: object, default: bool, field: str) -> bool:
    """Return a parameter that is true or false."""
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidInput(
            f"expected true or false, got {shown(value)}"
            if not isinstance(value, int)
            else "expected true or false, got a number",
            field=field,
        )
    return value
