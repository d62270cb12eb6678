"""Pictures of networks for images: filters, feature maps, misclassified rows, and what augmentation does."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models.deployable import Deployable, Normalize
from pipeline.monitoring.monitor import Monitor
from pipeline.monitoring.undisturbed import first_rows, undisturbed
from pipeline.reporting.answers import images_figure
from pipeline.reporting.grids import image_grid, picture, save_png
from pipeline.tracking import Tracker
from pipeline.training.batches import Changed
from pipeline.training.randomness import kept_rng
from pipeline.training.rows import VALIDATION_ROWS, Rows
from pipeline.training.state import FitState
from serving.answers import LABEL_FROM
from serving.schema import Schema

_FOLDER = "images"
_NOT_IN_A_FILE = re.compile(r"[^\w.-]")
_MOST_FILTERS, _MOST_MAPS, _MOST_AUGMENTED = 64, 16, 16


class Album:
    """The PNG files of a stage, `images/<tag>-<epoch>.png` below `out`, recorded once they are written."""

    def __init__(self, out: Path, tracker: Tracker) -> None:
        """Make nothing yet."""
        self._out, self._tracker = out, tracker
        self._new: dict[str, str] = {}

    def file(self, tag: str, epoch: int) -> Path:
        """Return where to write a picture."""
        name = f"{_FOLDER}/{_NOT_IN_A_FILE.sub('-', tag)}-{epoch}.png"
        (self._out / _FOLDER).mkdir(exist_ok=True)
        self._new[tag] = name
        return self._out / name

    def record(self, epoch: int) -> None:
        """Record the pictures that were written since the last call."""
        written, self._new = self._new, {}
        if written:
            self._tracker.images(written, step=epoch)


class Pictures(Monitor):
    """Records `filters` of the first convolution, `features/<layer>`, and `misclassified` validation rows."""

    name = "images"
    gives_way = True

    def __init__(
        self,
        net: nn.Module,
        deployable: Deployable,
        schema: Schema,
        rows: Rows,
        album: Album,
        *,
        every: int,
        image_rows: int,
        feature_layers: tuple[str, ...] = (),
    ) -> None:
        """every: epochs between two looks. image_rows: of feature maps, and of misclassified rows at most.

        feature_layers: names of layers; empty: the first and the last Conv2d. Raises UserError for a name that is no layer's.
        """
        self._net, self._deployable, self._schema, self._rows, self._album = net, deployable, schema, rows, album
        self.every, self._image_rows = every, image_rows
        self._layers = _chosen(net, feature_layers)

    def look(self, state: FitState) -> None:
        """Draw all three."""
        self._filters(state)
        self._features(state)
        if self._schema.classes:
            self._misclassified(state)
        self._album.record(state.epoch)

    def _filters(self, state: FitState) -> None:
        first = next((module for module in self._net.modules() if isinstance(module, nn.Conv2d)), None)
        if first is None:
            return
        with state.evaluated():
            weights = first.weight.detach()[:_MOST_FILTERS].cpu().contiguous().numpy()  # (out, in, height, width)
            save_png(self._album.file("filters", state.epoch), image_grid(weights, columns=8))

    def _features(self, state: FitState) -> None:
        maps: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            return lambda _, __, output: maps.__setitem__(name, output.detach().float().cpu())

        handles = [module.register_forward_hook(keep(name)) for name, module in self._layers.items()]
        try:
            with undisturbed(state):
                self._net(first_rows(self._rows.validation, self._image_rows)[0])
        finally:
            for handle in handles:
                handle.remove()
        for name, of_layer in maps.items():
            if of_layer.ndim != 4:
                raise ValueError(f"layer {name} gives the shape {tuple(of_layer.shape[1:])}, and feature maps have three sizes")
            shown = of_layer[:, :_MOST_MAPS]  # (rows, channels, height, width): a line for each row
            cells = shown.reshape(-1, *shown.shape[2:]).numpy()
            save_png(self._album.file(f"features/{name}", state.epoch), image_grid(cells, columns=shown.shape[1]))

    @torch.no_grad()
    def _misclassified(self, state: FitState) -> None:
        """Draw those of the first batch that the network was surest of."""
        assert state.validated is not None
        outputs, targets = (tensor[:VALIDATION_ROWS] for tensor in state.validated)
        probabilities, targets = self._deployable.finish(outputs).cpu(), targets.cpu()
        sure, true, given = _decisions(probabilities, targets, self._schema.classes)
        wrong = torch.tensor([row for row, text in enumerate(true) if text != given[row]], dtype=torch.long)
        worst = wrong[sure[wrong].argsort(descending=True, stable=True)][: self._image_rows]
        if not len(worst):
            return
        inputs, _ = first_rows(self._rows.validation, VALIDATION_ROWS)
        normalize = self._deployable.normalize
        assert isinstance(normalize, Normalize)  # as for all images
        raw = normalize.undo(inputs[worst.to(inputs.device)]).cpu().numpy()
        titles = [_heading(true[row], given[row], float(sure[row])) for row in worst.tolist()]
        images_figure(
            self._album.file("misclassified", state.epoch),
            raw,
            titles,
            limits=(self._schema.minimum, self._schema.maximum),
            title=f"true → predicted, epoch {state.epoch}: {len(wrong)} of {len(targets)} validation rows are wrong",
        )


class AugmentedRows(Monitor):
    """Records `augmented` once: train rows beside what augmentation makes of them."""

    name = "augmented"

    def __init__(self, rows: Rows, schema: Schema, album: Album) -> None:
        """rows: with an augmentation."""
        self._rows, self._schema, self._album = rows, schema, album

    def at_start(self, state: FitState) -> None:
        """Draw a batch; training draws its own as if there had been none."""
        augmentation, train = self._rows.augmentation, self._rows.train
        if augmentation is None or not isinstance(train, Changed):
            return
        before, targets = first_rows(train.batches, _MOST_AUGMENTED)
        with kept_rng():
            after, _ = augmentation(before, targets)
        save_png(self._album.file("augmented", state.epoch), picture(_array(before), _array(after), scale=self._limits))
        self._album.record(state.epoch)

    @property
    def _limits(self) -> tuple[float, float]:
        return self._schema.minimum, self._schema.maximum


def _decisions(probabilities: Tensor, targets: Tensor, classes: Sequence[str]) -> tuple[Tensor, list[str], list[str]]:
    """Return of each row how sure its answer is, and its true and its predicted class or labels as text.

    Of labels the surest wrong decision counts. probabilities: (rows, classes); targets: (rows,), or (rows, labels) of 0 and 1.
    """
    if targets.ndim == 1:
        sure, predicted = probabilities.max(1)
        return sure, [classes[index] for index in targets.tolist()], [classes[index] for index in predicted.tolist()]
    given, has = probabilities >= LABEL_FROM, targets > 0
    certain = torch.where(given, probabilities, 1 - probabilities)
    sure = torch.where(given != has, certain, 0.0).amax(1)
    texts = [[", ".join(itertools.compress(classes, row)) or "none" for row in rows.tolist()] for rows in (has, given)]
    return sure, texts[0], texts[1]


def _heading(true: str, predicted: str, probability: float) -> str:
    between = " → " if len(true + predicted) < 14 else "\n→ "
    return f"{true}{between}{predicted}\n{probability:.0%}"


def _array(rows: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = rows.cpu().numpy()
    return array


def _chosen(net: nn.Module, names: tuple[str, ...]) -> dict[str, nn.Module]:
    """Return the layers whose feature maps are shown."""
    modules = dict(net.named_modules())
    unknown = [name for name in names if name not in modules or not name]
    if unknown:
        known = ", ".join(name for name, module in modules.items() if name and not list(module.children()))
        raise UserError(f"monitor.feature_layers: the model has no layer {unknown[0]!r}; its layers are: {known}")
    if names:
        return {name: modules[name] for name in names}
    convolutions = [name for name, module in modules.items() if isinstance(module, nn.Conv2d)]
    return {name: modules[name] for name in dict.fromkeys([*convolutions[:1], *convolutions[-1:]])}
