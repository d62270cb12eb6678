"""A training that was put together, from where it stands to its end; the loop itself knows no config."""

from collections.abc import Sequence

from pipeline.config import Config
from pipeline.errors import SlipwayError, UserError
from pipeline.models.registry import raised_in_users_file
from pipeline.training.assembly import Assembly
from pipeline.training.batches import Batches
from pipeline.training.hooks import Hook
from pipeline.training.loop import fit
from serving.errors import first_line


def fit_assembled(config: Config, parts: Assembly, hooks: Sequence[Hook], *, measured: Batches | None = None) -> None:
    """Train `parts` in place. Raises UserError for what fails in a user's own model, and what `fit` raises."""
    state = parts.state
    try:
        fit(
            state,
            parts.rows.train,
            parts.rows.validation,
            parts.objective,
            seed=config.seed,
            options=parts.options,
            nonfinite=config.train.nonfinite,
            measured=measured,
            hooks=hooks,
        )
    except SlipwayError:
        raise
    except Exception as error:
        if not raised_in_users_file(error):
            raise
        raise UserError(f"model: it fails in epoch {state.epoch}, after step {state.step}: {first_line(error)}") from error
