"""Validation rows by class, and as curves: what one number for all rows hides."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.metrics.tasks import auroc, class_metrics, confusion
from pipeline.models.deployable import Deployable
from pipeline.monitoring.monitor import Monitor
from pipeline.monitoring.pictures import Album
from pipeline.reporting.answers import labels_figure, predicted_figure, roc_figure
from pipeline.reporting.figures import confusion_figure, residual_figure
from pipeline.tracking import PrCurve, Tracker
from pipeline.training.state import FitState
from serving.schema import Schema

MOST_CLASSES = 50  # with numbers of their own
_MOST_CURVES = 10
_THRESHOLDS = 101


class PerClass(Monitor):
    """Records `val/precision/<class>`, `val/recall/<class>` and `val/f1/<class>`; 0 where there is nothing to divide by.

    Where rows have several labels, the same of each label.
    """

    name = "per_class"

    def __init__(self, classes: Sequence[str], deployable: Deployable, tracker: Tracker) -> None:
        """classes: labels in the order of the outputs."""
        self._classes, self._deployable, self._tracker = classes, deployable, tracker

    @torch.no_grad()
    def look(self, state: FitState) -> None:
        """Record them."""
        assert state.validated is not None
        outputs, targets = state.validated
        numbers = class_metrics(self._deployable.finish(outputs), targets)
        self._tracker.metrics(
            {
                f"val/{metric}/{label}": value
                for metric, values in numbers.items()
                for label, value in zip(self._classes, values, strict=True)
            },
            step=state.epoch,
        )


class ClassCurves(Monitor):
    """Records the confusion matrix and ROC curves as pictures, and precision-recall curves, of the validation rows.

    Where rows have several labels, bars of each label's precision, recall and F1 take the place of the matrix. Of more than 10
    classes, ROC and precision-recall curves are of the 10 with the lowest AUROC. `pr/micro` takes each pair of row and class as
    one answer.
    """

    name = "curves"
    gives_way = True

    def __init__(self, schema: Schema, deployable: Deployable, album: Album, tracker: Tracker, *, every: int) -> None:
        """every: epochs between two looks."""
        self._classes, self._deployable, self._album, self._tracker = schema.classes, deployable, album, tracker
        self.every = every

    @torch.no_grad()
    def look(self, state: FitState) -> None:
        """Record them."""
        assert state.validated is not None
        outputs, targets = state.validated
        probabilities, targets, epoch = self._deployable.finish(outputs).cpu(), targets.cpu(), state.epoch
        title = f"validation rows, epoch {epoch}"
        if targets.ndim == 2:
            labels_figure(self._album.file("labels", epoch), class_metrics(probabilities, targets), self._classes, title=title)
            each = targets > 0
        else:
            matrix = confusion(probabilities.argmax(1), targets, len(self._classes)).numpy()
            confusion_figure(self._album.file("confusion", epoch), matrix, self._classes, title=title)
            each = torch.nn.functional.one_hot(targets, len(self._classes)).bool()
        self._curves(probabilities, each, title, epoch)

    def _curves(self, probabilities: Tensor, each: Tensor, title: str, epoch: int) -> None:
        """Record the curves over thresholds; both (rows, classes), `each` says which of them a row is or has."""
        areas = [_area(scores, is_class) for scores, is_class in zip(probabilities.T, each.T, strict=True)]
        known = [index for index, area in enumerate(areas) if area is not None]
        shown = sorted(sorted(known, key=lambda index: areas[index] or 0.0)[:_MOST_CURVES])
        curves = {
            f"{self._classes[index]} ({areas[index]:.3f})": roc(probabilities[:, index], each[:, index]) for index in shown
        }
        if curves:
            note = f"{len(shown)} of {len(self._classes)} classes, lowest AUROC" if len(self._classes) > _MOST_CURVES else ""
            roc_figure(self._album.file("roc", epoch), curves, title=title, note=note)
        self._album.record(epoch)
        recalled = {f"pr/{self._classes[index]}": pr_curve(probabilities[:, index], each[:, index]) for index in shown}
        self._tracker.pr_curves({**recalled, "pr/micro": pr_curve(probabilities.flatten(), each.flatten())}, step=epoch)


class ValueCurves(Monitor):
    """Records residuals and predicted against true values of the validation rows as pictures, in the target's unit."""

    name = "curves"
    gives_way = True

    def __init__(self, schema: Schema, deployable: Deployable, album: Album, *, every: int) -> None:
        """every: epochs between two looks."""
        self._names, self._deployable, self._album = schema.targets or (schema.target,), deployable, album
        self.every = every

    @torch.no_grad()
    def look(self, state: FitState) -> None:
        """Record them."""
        assert state.validated is not None
        outputs, targets = state.validated
        predicted, true = self._deployable.finish(outputs).cpu().numpy(), targets.reshape(outputs.shape).cpu().numpy()
        title, epoch = f"validation rows, epoch {state.epoch}", state.epoch
        residual_figure(self._album.file("residuals", epoch), predicted, true, names=self._names, title=title)
        predicted_figure(self._album.file("predicted", epoch), predicted, true, names=self._names, title=title)
        self._album.record(epoch)


def _area(scores: Tensor, is_class: Tensor) -> float | None:
    """Return a class's AUROC against the rest; None where the rows are all of it, or none are."""
    if not is_class.any() or is_class.all():
        return None
    pair = torch.stack([1 - scores, scores], dim=1)
    return auroc(pair, is_class.long())


def roc(scores: Tensor, is_class: Tensor) -> tuple[list[float], list[float]]:
    """Return false and true positive rates at each distinct score, from (0, 0) to (1, 1); both inputs (rows,)."""
    order = scores.argsort(descending=True, stable=True)
    ordered, right = scores[order], is_class[order].double()
    ends = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1, dtype=torch.bool)])
    true, false = right.cumsum(0)[ends], (1 - right).cumsum(0)[ends]
    return [0.0, *(false / false[-1]).tolist()], [0.0, *(true / true[-1]).tolist()]


def pr_curve(scores: Tensor, is_class: Tensor) -> PrCurve:
    """Return counts, precision and recall at 101 thresholds from 0 to 1; a row is positive where its score is at least that.

    scores: (rows,) from 0 to 1, is_class: (rows,) bool. Without a positive answer the precision is 0, as in TensorBoard.
    """
    places = (scores.double() * (_THRESHOLDS - 1)).floor().long().clamp(0, _THRESHOLDS - 1)
    of_class, of_rest = (torch.bincount(places[mask], minlength=_THRESHOLDS) for mask in (is_class, ~is_class))
    true, false = (counts.flip(0).cumsum(0).flip(0) for counts in (of_class, of_rest))
    precision, recall = true / (true + false).clamp_min(1), true / true[0].clamp_min(1)
    return PrCurve(
        true_positives=true.tolist(),
        false_positives=false.tolist(),
        true_negatives=(false[0] - false).tolist(),
        false_negatives=(true[0] - true).tolist(),
        precision=precision.tolist(),
        recall=recall.tolist(),
    )
