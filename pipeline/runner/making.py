"""The runner, and what a stage sees of a config."""

import math
import time
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.artifacts import Artifact, Model, Prepared
from pipeline.choose import Choice
from pipeline.config import Config, MlflowSettings, flatten
from pipeline.errors import Interrupted, SlipwayError, UserError
from pipeline.manifest import MANIFEST, Manifest, git_state, now, read_manifest, records_of, versions, write_manifest
from pipeline.runner.freshness import Wanted, wanted
from pipeline.runs import Run, partial_folder, point_latest, wait_for
from pipeline.stages import Outcome, Stage, has_use, stage_making
from pipeline.tracking import Journal, Projection, Shared, Tracker, read_journal
from pipeline.tracking.console import Console
from pipeline.tracking.follower import followers
from pipeline.tracking.tensorboard import TensorBoard
from serving.files import sha256_of

_Inputs = list[Artifact | None]
PREPARED_ROOT = Path("data", "prepared")


class Scoped:
    """A config that shows a stage the sections it declares, so that no key can matter without being compared."""

    def __init__(self, config: Config, stage: Stage) -> None:
        """Show `stage.sections` of `config`."""
        self._config, self._stage = config, stage

    def __getattr__(self, name: str) -> Any:
        """Return a section, or `section(…)` itself."""
        if name != "section" and name not in self._stage.sections:
            raise AttributeError(f"stage {self._stage.name} reads config.{name}, which its row in STAGES does not declare")
        return getattr(self._config, name)


class Runner:
    """Makes what a stage needs, within one run; `run` None is for `prepare`, which belongs to no run."""

    def __init__(self, config: Config, console: Console, choice: Choice | None, *, asked: str, stores: MlflowSettings) -> None:
        """Work on the chosen run for the stage `asked`, tell `console` about it, and the stores that `stores` names."""
        self._config, self._console = config, console
        self._run: Run | None = choice.run if choice else None
        self._pinned = choice.pinned if choice else False
        self._resume = choice.resume if choice else None
        self._followers = followers(self._run.journal, stores, self._warn) if self._run else []
        self._asked = asked
        self._made: dict[str, Artifact] = {}

    def make(self, kind: type[Artifact]) -> Artifact:
        """Return a verified artifact of this kind, made or found."""
        if kind.kind in self._made:
            return self._made[kind.kind]
        stage = stage_making(kind)
        inputs = self.inputs(stage)
        want = self._wanted(stage, inputs)
        folder = self._folder(stage)
        with wait_for(folder.parent / ".making") if kind is Prepared else nullcontext():
            found = self._find(stage, kind, folder, want)
            artifact = found or self._make(stage, kind, folder, inputs, want)
        if kind is Model:
            self._check_pair(stage, artifact, self._made[Prepared.kind])
        if self._run is not None and kind is Model:
            point_latest(self._run)
        if self._run is not None and kind is Prepared:
            self._run.link(stage.name, artifact.folder)
        self._made[kind.kind] = artifact
        return artifact

    def inputs(self, stage: Stage) -> _Inputs:
        """Return what a stage takes, made or found; None for what this config has no use for."""
        return [self.make(kind) if has_use(kind, self._config) else None for kind in stage.takes]

    def close(self) -> None:
        """Let the stores take the rest; one that cannot says so itself, and stops nothing, since the journal has everything."""
        for follower in self._followers:
            follower.close()

    def _find(self, stage: Stage, kind: type[Artifact], folder: Path, want: Wanted) -> Artifact | None:
        if not (folder / MANIFEST).is_file():
            return None
        artifact = kind.open(folder)
        reasons = want.differences(artifact.manifest)
        if artifact.manifest.notes.get("again") and self._asked == stage.name:
            reasons = [*reasons, "numbers of the last time failed or never settled"]
        keep = (self._pinned and kind in (Prepared, Model)) or want.bears(kind, reasons)
        if reasons and not keep:
            self._say(stage, f"runs again: {'; '.join(reasons[:3])}")
            return None
        artifact.verify()
        if reasons:
            self._say(stage, f"kept as the run has it, though {reasons[0]}", folder)
        else:
            self._say(stage, f"skipped, unchanged since {_minute(artifact.manifest.created)}", folder)
        if self._run is not None and not read_journal(self._run.journal, stage.name):
            self._adopted(stage, folder)
        return artifact

    def _adopted(self, stage: Stage, folder: Path) -> None:
        """Tell a run's journal about a result that another run made, so that the run's record is whole."""
        tracker = self._tracker(stage, None)
        tracker.params(flatten({name: self._config.section(name) for name in stage.sections}))
        tracker.files(folder)
        tracker.event("stage_skipped", folder=str(folder))
        tracker.close()

    def _data_of_run(self) -> Path | None:
        """Return the folder of the rows that a pinned run was trained on, if they are still there."""
        if not self._pinned or self._run is None:
            return None
        digest = Model.open(self._run.folder / stage_making(Model).name).manifest.takes[Prepared.kind]
        for manifest in PREPARED_ROOT.glob(f"*/{MANIFEST}"):
            if read_manifest(manifest.parent).digest == digest:
                return manifest.parent
        return None

    def _make(self, stage: Stage, kind: type[Artifact], folder: Path, inputs: _Inputs, want: Wanted) -> Artifact:
        started = time.perf_counter()
        with partial_folder(folder, keep=kind is Model and self._resume is not None) as out:
            outcome = self._run_stage(stage, inputs, out)
            manifest = Manifest(
                stage=stage.name,
                takes=want.takes,
                makes=records_of(out),
                config=want.config,
                code=want.code,
                seed=self._config.seed,
                device=outcome.device,
                versions=versions(),
                git=git_state(Path()),
                created=now(),
                seconds=round(time.perf_counter() - started, 3),
                metrics={name: value for name, value in outcome.metrics.items() if math.isfinite(value)},
                notes=outcome.notes,
            )
            write_manifest(out, manifest)
        self._say(stage, outcome.summary, folder, seconds=manifest.seconds)
        self._finished(stage, folder, manifest)
        return kind.open(folder)

    def _run_stage(self, stage: Stage, inputs: _Inputs, out: Path) -> Outcome:
        resume = {"resume": self._resume} if stage.makes is Model and self._resume else {}
        tracker = self._tracker(stage, out, resume=bool(resume))
        tracker.event("stage_started")
        tracker.params(flatten({name: self._config.section(name) for name in stage.sections}))
        try:
            return stage.run(Scoped(self._config, stage), *inputs, out=out, tracker=tracker, **resume)
        except (KeyboardInterrupt, Interrupted):
            tracker.event("stage_interrupted")
            raise
        except Exception as error:
            reason = error.lines[0] if isinstance(error, SlipwayError) else f"{type(error).__name__}: {error}"
            tracker.event("stage_failed", reason=reason)
            raise
        finally:
            tracker.close()

    def _finished(self, stage: Stage, folder: Path, manifest: Manifest) -> None:
        tracker = self._tracker(stage, None)
        tracker.files(folder)
        tracker.event("stage_finished", seconds=manifest.seconds, digest=manifest.digest)
        tracker.close()

    def _tracker(self, stage: Stage, out: Path | None, *, resume: bool = False) -> Tracker:
        projections: list[Projection] = []
        before = read_journal(self._run.journal, stage.name) if self._run is not None and resume else []
        if self._run is not None:
            projections.append(Journal(self._run.journal))  # first: it is the truth, and MLflow reads it
            projections += [TensorBoard(out / "tensorboard", before)] if out else []
        outliving: list[Projection] = [*self._followers, self._console]
        projections += [Shared(projection) for projection in outliving]
        return Tracker(stage.name, projections, warn=self._warn, before=before)

    def _wanted(self, stage: Stage, inputs: _Inputs) -> Wanted:
        takes = {artifact.kind: artifact.digest for artifact in inputs if artifact is not None}
        return wanted(stage, takes, self._config, self._run)

    def _check_pair(self, stage: Stage, model: Artifact, prepared: Artifact) -> None:
        """Raise UserError when a kept model was trained on other rows, or with other statistics, than those at hand."""
        if model.manifest.takes[Prepared.kind] != prepared.digest:
            raise UserError(
                f"{stage.name}: {model.folder} was trained on data {model.manifest.takes[Prepared.kind][:12]}, which is gone; "
                f"prepared anew it is {prepared.digest[:12]}, which is not the same: train again"
            )

    def _folder(self, stage: Stage) -> Path:
        if stage.makes is Prepared and (kept := self._data_of_run()):
            return kept
        if stage.makes is not Prepared:
            assert self._run is not None
            return self._run.folder / stage.name
        want = self._wanted(stage, [])
        return PREPARED_ROOT / f"{self._config.name}-{sha256_of(repr((want.takes, want.config, want.code)).encode())[:8]}"

    def _warn(self, line: str) -> None:
        self._console.line(f"warning: {line}")

    def _say(self, stage: Stage, text: str, folder: Path | None = None, *, seconds: float | None = None) -> None:
        took = f"{seconds:.1f} s" if seconds is not None else ""
        self._console.close()
        self._console.line(f"{stage.name:<9}{took:>8}  {text}" + (f"  -> {folder}" if folder else ""))


def _minute(created: str) -> str:
    return f"{datetime.fromisoformat(created):%Y-%m-%d %H:%M} UTC"
