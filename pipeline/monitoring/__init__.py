"""What is watched while a network trains: numbers of layers and classes, pictures, and what all of that costs.

    with monitors_for(config.monitor, parts, out=out, tracker=tracker) as monitors:
        fit(state, …, hooks=[stopping, report, monitors, checkpoints])
    conclude(monitors, state, out=out, tracker=tracker, metric="accuracy", best_epoch=7, params=…, title=…)

Nothing here changes a weight: monitors draw no random numbers, leave modes and buffers as they were and remove their hooks.
They may take `monitor.max_overhead` of training's time; pictures give way first. A monitor that fails is switched off.
"""

from pipeline.monitoring.build import conclude, monitors_for
from pipeline.monitoring.monitor import Monitor
from pipeline.monitoring.overhead import Monitors

__all__ = ["Monitor", "Monitors", "conclude", "monitors_for"]
