"""The one training loop and what hooks into it.

fit(net, batches, validation, objective, optimizer, schedule, epochs=60, hooks=[EarlyStopping(…), Checkpoints(…)])
"""

from pipeline.training.loop import FitState, fit

__all__ = ["FitState", "fit"]
