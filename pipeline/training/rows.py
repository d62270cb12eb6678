"""The prepared rows as batches, as training and measuring take them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.artifacts import Prepared, Split
from pipeline.config import Config
from pipeline.data.augmentation import Augmentation
from pipeline.errors import UserError
from pipeline.models.deployable import Deployable
from pipeline.training.batches import Batches, Change, Changed, InMemory
from pipeline.training.memory import free_memory_bytes
from pipeline.training.streaming import StreamedBatches
from serving.schema import Schema

VALIDATION_ROWS = 1024  # in one forward pass
_EXAMPLES = 64
_SPLITS: tuple[Split, Split] = ("train", "validation")
_SHARE_OF_MEMORY = 0.25  # more is streamed: raw, normalized and shuffled rows are in memory at a time


@dataclass(frozen=True)
class Rows:
    """Batches of the train rows, shuffled and augmented; of the same rows as they are; and of the validation rows.

    class_counts: (classes,) train rows of each class, or (labels, 2) those without and with each label; empty for values.
    examples: (rows, *shape) of a few train rows as a client would send them, on the CPU. augmentation: what `train` is changed
    by.
    """

    train: Batches
    plain: Batches
    validation: Batches
    examples: Tensor
    class_counts: Tensor
    augmentation: Augmentation | None


def open_rows(
    config: Config, prepared: Prepared, deployable: Deployable, batch_size: int, device: torch.device, *, in_memory: bool
) -> Rows:
    """Return the rows of a training, held in memory or streamed; raise UserError for settings that do not fit them."""
    schema = prepared.schema
    splits = {split: _Split(prepared, split, deployable, device, in_memory=in_memory) for split in _SPLITS}
    train, targets = splits["train"], splits["train"].targets
    weights = _balancing(config, schema, targets, in_memory=in_memory)
    augmentation = None
    if config.augment.active:
        low, high, classes = schema.minimum, schema.maximum, len(schema.classes)
        augmentation = Augmentation(
            config.augment, schema.shape, task=schema.task, classes=classes, low=low, high=high, features=schema.features
        )
        batches: Batches = Changed(train.raw(batch_size, weights), _augmented(augmentation, deployable))
    else:
        batches = train.normalized(batch_size, weights)
    plain, validation = (splits[split].normalized(VALIDATION_ROWS) for split in _SPLITS)
    return Rows(batches, plain, validation, train.examples(), _counts(schema, targets), augmentation)


def _counts(schema: Schema, targets: NDArray[Any]) -> Tensor:
    match schema.task:
        case "classification":
            return torch.from_numpy(np.bincount(targets, minlength=schema.outputs))
        case "multilabel":
            having = np.count_nonzero(targets, axis=0)
            return torch.from_numpy(np.stack([len(targets) - having, having], axis=1))
        case "regression":
            return torch.empty(0)


class _Split:
    """The rows of one split, in memory or on disk."""

    def __init__(
        self, prepared: Prepared, split: Split, deployable: Deployable, device: torch.device, *, in_memory: bool
    ) -> None:
        self._normalize, self._device, self._in_memory = deployable.normalize, device, in_memory
        self._opened = None if in_memory else prepared.open_split(split)
        inputs, targets = self._opened or prepared.split(split)
        self._inputs: NDArray[np.float32] = inputs
        self.targets: NDArray[Any] = targets

    def examples(self) -> Tensor:
        """Return the first rows as a client would send them."""
        return torch.from_numpy(np.array(self._inputs[:_EXAMPLES]))

    def raw(self, size: int, weights: Tensor | None = None) -> Batches:
        """Return batches as a client would send them."""
        if self._opened is not None:
            return StreamedBatches(*self._opened, size, device=self._device, transform=lambda inputs: inputs)
        inputs, targets = (torch.from_numpy(array).to(self._device) for array in (self._inputs, self.targets))
        return InMemory(inputs, targets, size, weights)

    def normalized(self, size: int, weights: Tensor | None = None) -> Batches:
        """Return batches as the network takes them, normalized by the very module that is exported."""
        if self._opened is not None:
            return StreamedBatches(*self._opened, size, device=self._device, transform=self._normalize)
        inputs, targets = self._tensors
        return InMemory(inputs, targets, size, weights)

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor]:
        with torch.no_grad():  # once for all epochs
            inputs: Tensor = self._normalize(torch.from_numpy(self._inputs).to(self._device))
        return inputs, torch.from_numpy(self.targets).to(self._device)


def _augmented(augmentation: Augmentation, deployable: Deployable) -> Change:
    @torch.no_grad()
    def change(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        inputs, targets = augmentation(inputs, targets)
        return deployable.normalize(inputs), targets

    return change


def fit_into_memory(config: Config, prepared: Prepared) -> bool:
    """Return whether rows are held in memory: as configured, or where they take a small share of what is free."""
    if config.train.in_memory != "auto":
        return config.train.in_memory
    return sum(prepared.split_bytes(split) for split in _SPLITS) < _SHARE_OF_MEMORY * free_memory_bytes()


def _balancing(config: Config, schema: Schema, targets: NDArray[Any], *, in_memory: bool) -> Tensor | None:
    """Return a weight for each row such that classes are drawn equally often; raise UserError where there are none to draw."""
    if config.train.sampling == "shuffle":
        return None
    if schema.task == "multilabel":
        raise UserError(
            "train.sampling: balanced draws rows by their class, and a row may have several labels here; "
            "leave it shuffle, and set train.loss.class_weights=balanced"
        )
    if schema.task == "regression":
        raise UserError("train.sampling: balanced needs classes, and the target has values; leave it shuffle")
    if not in_memory:
        raise UserError(
            "train.sampling: balanced draws rows from all of the data, which is streamed here; use loss.class_weights"
        )
    return torch.from_numpy(1.0 / np.bincount(targets)[targets])
