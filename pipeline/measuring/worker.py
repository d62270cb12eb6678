"""The child that loads one artifact and is timed: `python -m pipeline.measuring.worker`, orders on stdin, replies on stdout.

For ONNX it imports what the service imports and nothing else, so that memory and load time are those of a service.
"""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from pipeline.measuring.orders import (
    Answer,
    Answered,
    Failed,
    Kept,
    Load,
    Loaded,
    Order,
    Probe,
    Probed,
    Remember,
    Remembered,
    Reply,
    Timed,
    Window,
)
from serving import runtimes
from serving.errors import first_line
from serving.files import read_verified
from serving.predictor import Predictor
from serving.schema import Array

Predict = Callable[[Array], Array]

_WARM_UP = 3  # calls before a window: other processes had the caches meanwhile
_MOST_BATCHES, _MOST_BYTES = 64, 16_000_000  # of distinct inputs that a window goes round


def main() -> None:
    """Carry out orders until there are no more: a parent that dies closes the pipe, which ends this process, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the parent ends this one
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is not a reply
    for reply in carry_out(_orders(sys.stdin.buffer)):
        replies.write(msgspec.json.encode(reply) + b"\n")
        replies.flush()


def carry_out(orders: Iterator[Order]) -> Iterator[Reply]:
    """Yield a reply to each order; before any that needs a model there must be a Load."""
    predict: Predict | None = None
    inputs = ""
    for order in orders:
        try:
            if isinstance(order, Load):
                started = time.perf_counter()
                predict, inputs = _load(order), order.inputs
                predict(_rows(inputs, 0, 1))
                yield Loaded(time.perf_counter() - started)
            elif isinstance(order, Remember):
                yield remember()
            elif isinstance(order, Probe):
                yield Probed(runtimes.probe(order.provider))
            else:
                assert predict is not None
                yield _answer(predict, inputs, order) if isinstance(order, Answer) else _window(predict, inputs, order)
        except Exception as error:  # a runtime raises what it likes on a file that it cannot run
            yield Failed(first_line(error))


def _orders(stream: IO[bytes]) -> Iterator[Order]:
    decoder = msgspec.json.Decoder(Order)
    for line in stream:
        yield decoder.decode(line)


def _load(order: Load) -> Predict:
    if order.engine == "eager":
        return _eager(order)
    artifact = _read(order.artifact)
    return Predictor(
        artifact, schema=order.schema, runtime=order.engine, threads=order.threads, provider=order.provider
    ).predict


def _eager(order: Load) -> Predict:
    """Return the model as PyTorch runs it, from rows to answers in NumPy as a Predictor does."""
    import torch

    from pipeline.models.deployable import Deployable
    from pipeline.training.weights import load

    torch.set_num_threads(order.threads)
    assert order.statistics is not None
    net = load(_read(order.artifact), source=_read(order.source) if order.source else None)
    statistics = msgspec.json.decode(_read(order.statistics))
    module = Deployable(net, task=order.schema.task, statistics=statistics, features=order.schema.features).eval()

    def run(inputs: Array) -> Array:
        with torch.inference_mode():
            outputs: Array = module(torch.from_numpy(inputs)).numpy()
        return outputs

    return run


def _read(kept: Kept) -> bytes:
    return read_verified(Path(kept.path), kept.record)


def _rows(inputs: str, start: int, stop: int) -> Array:
    """Return some rows; the map is closed at once, since pages that stay mapped would count as memory of the model."""
    found: Array = np.array(np.load(inputs, mmap_mode="r", allow_pickle=False)[start:stop], dtype=np.float32, order="C")
    return found


def _answer(predict: Predict, inputs: str, order: Answer) -> Answered:
    starts = range(order.start, order.stop, order.batch_size)
    parts = [predict(_rows(inputs, start, min(start + order.batch_size, order.stop))) for start in starts]
    np.save(order.into, np.concatenate(parts), allow_pickle=False)
    return Answered()


def _window(predict: Predict, inputs: str, order: Window) -> Timed:
    batches = _batches(inputs, order.batch_size)
    for batch in itertools.islice(itertools.cycle(batches), _WARM_UP):
        predict(batch)
    clock, calls = time.perf_counter_ns, []
    end = clock() + int(order.window_ms * 1e6)
    for batch in itertools.cycle(batches):
        started = clock()
        predict(batch)
        ended = clock()
        calls.append(ended - started)
        if ended >= end and len(calls) >= order.least_calls:
            break
    return Timed(calls)


def _batches(inputs: str, size: int) -> list[Array]:
    """Return different batches of validation rows, which begin anew where there are fewer than a batch needs."""
    one = _rows(inputs, 0, 1)
    count = min(_MOST_BATCHES, max(1, _MOST_BYTES // (one.nbytes * size)))
    rows = _rows(inputs, 0, count * size)
    count = max(1, min(count, len(rows) // size))
    rows = np.resize(rows, (count * size, *rows.shape[1:]))
    return [rows[start : start + size] for start in range(0, count * size, size)]


def remember() -> Remembered:
    """Return the memory of this process.

    VmHWM, where there is one: `ru_maxrss` of a child begins with the peak of the parent that started it.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return Remembered(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, None, "ru_maxrss")
    peak = _kilobytes(status.read_text(), "VmHWM")
    assert peak is not None
    rollup = Path("/proc/self/smaps_rollup")
    return Remembered(peak, _kilobytes(rollup.read_text(), "Pss") if rollup.is_file() else None, "VmHWM, Pss")


def _kilobytes(text: str, name: str) -> int | None:
    lines = (line.split() for line in text.splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[0] == f"{name}:"), None)


if __name__ == "__main__":
    main()
