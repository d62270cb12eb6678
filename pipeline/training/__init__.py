"""The one training loop and what hooks into it.

state = FitState(net, optimizer, schedule, epochs=60)
fit(state, train, validation, objective, seed=0, hooks=[EarlyStopping(…), Checkpoints(…)])
"""

from pipeline.training.loop import fit
from pipeline.training.state import FitState

__all__ = ["FitState", "fit"]
