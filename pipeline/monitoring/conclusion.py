"""What is drawn and recorded when training is over and its best epoch is known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.monitoring.layers import Layers
from pipeline.monitoring.monitor import Monitor
from pipeline.reporting.figures import curves_figure
from pipeline.reporting.history import gradients_figure, metrics_figure
from pipeline.tracking import Tracker
from pipeline.training.state import FitState


class Conclusion(Monitor):
    """Draws `plots/curves.png`, `plots/metrics.png` and `plots/gradients.png`; records the settings beside the best numbers.

    The last picture shows the epochs since the last resume, since looks at layers are kept by the process.
    """

    name = "conclusion"

    def __init__(
        self,
        out: Path,
        tracker: Tracker,
        *,
        layers: Layers | None,
        metric: str,
        best_epoch: int,
        params: Mapping[str, Any],
        title: str,
    ) -> None:
        """layers: where looks at layers are. metric: the one that curves.png shows. params: what was set, by key."""
        self._out, self._tracker, self._layers, self._metric = out / "plots", tracker, layers, metric
        self._best_epoch, self._params, self._title = best_epoch, params, title

    def at_end(self, state: FitState) -> None:
        """Draw and record."""
        best = state.history[self._best_epoch - 1]
        self._tracker.hparams(self._params, {name: value for name, value in best.items() if "/" in name})
        self._out.mkdir(exist_ok=True)
        marks: dict[str, Any] = {"title": self._title, "best_epoch": self._best_epoch, "stopped": state.stop}
        curves_figure(self._out / "curves.png", state.history, metric=self._metric, **marks)
        metrics_figure(self._out / "metrics.png", state.history, **marks)
        if self._layers is not None and self._layers.epochs:
            epochs = self._layers.epochs
            names = [segment.name for segment in self._layers.segments]
            norms, ratios = (
                {name: [getattr(epoch, kind)[index] for epoch in epochs] for index, name in enumerate(names)}
                for kind in ("gradient_norm", "update_ratio")
            )
            gradients_figure(self._out / "gradients.png", [epoch.epoch for epoch in epochs], norms, ratios, **marks)
