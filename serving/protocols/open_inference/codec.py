"""One inference: from its request to rows, from the model's answers to its reply, and how this protocol says no."""

import msgspec

from serving.errors import InvalidInput, Refusal
from serving.exchange import Reply, Request, Work
from serving.facts import ModelFacts
from serving.protocols.open_inference.inputs import Inputs
from serving.protocols.open_inference.outputs import Outputs, flag
from serving.protocols.open_inference.wire import Scalar, read, split
from serving.protocols.words import said

_LONGEST_US = 10**12  # eleven days: more is a mistake, and no deadline


class Codec:
    """Reads and answers `…/infer` of one model. The content type is not looked at, as clients send none, or any."""

    def __init__(self, model: ModelFacts) -> None:
        """Build what the model's requests are checked against."""
        self._limits = model.limits
        self._inputs, self._outputs = Inputs(model), Outputs(model)

    def parse(self, request: Request) -> Work:
        """Decode and validate a request; raise Refusal."""
        length, vendor = split(request)
        if length == 0:
            chosen = self._outputs.choose(None, binary=True)
            return Work(self._inputs.single(request.body), self._outputs.encoder(chosen, None, vendor))
        text, raw = request.body, memoryview(b"")
        if length is not None:
            text, raw = request.body[:length], memoryview(request.body)[length:]
        asked = read(text, limits=self._limits)
        parameters = asked.parameters or {}
        binary = flag(parameters.get("binary_data_output"), False, "parameters.binary_data_output")
        chosen = self._outputs.choose(asked.outputs, binary=binary)
        timeout = _seconds(parameters.get("timeout"))
        return Work(self._inputs.rows(asked.inputs, raw), self._outputs.encoder(chosen, asked.id, vendor), timeout)


def _seconds(microseconds: Scalar) -> float | None:
    """Return the seconds that a request allows; 0 allows any."""
    if microseconds is None:
        return None
    if isinstance(microseconds, bool) or not isinstance(microseconds, int) or not 0 <= microseconds <= _LONGEST_US:
        raise InvalidInput(f"expected microseconds, an integer from 0 to {_LONGEST_US}", field="parameters.timeout")
    return microseconds / 1e6 or None


def refuse(refusal: Refusal, request: Request) -> Reply:  # noqa: ARG001  # the shape of every dialect
    """Say no as this protocol does: `{"error": said(refusal)}`, the path of the field in front."""
    headers = [] if refusal.retry_after is None else [("Retry-After", str(refusal.retry_after))]
    return Reply(int(refusal.status), msgspec.json.encode({"error": said(refusal)}), headers=headers)
