"""Whether a finished result is what would be made now: from the same inputs, the same config and the same code."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts import Artifact, Distilled, Model, Prepared
from pipeline.code import code_digest
from pipeline.config import Config, flatten
from pipeline.manifest import MANIFEST, Manifest, read_manifest
from pipeline.outside import ABSENT, data_files, model_files, student_files
from pipeline.runs import Run
from pipeline.stages import Stage, has_use, stage_making


@dataclass(frozen=True)
class Wanted:
    """What a manifest must say for its folder to be what would be made now."""

    takes: dict[str, str]
    config: dict[str, Any]
    code: str

    def differences(self, manifest: Manifest) -> list[str]:
        """Return why a finished folder is out of date, most telling first; empty when it is not."""
        before, now_ = flatten(manifest.config), flatten(self.config)
        keys = [key for key in {**before, **now_} if before.get(key) != now_.get(key)]
        reasons = [f"{key} was {before.get(key)}, is {now_.get(key)}" for key in keys]
        reasons += [
            f"{name} changed" for name in {**manifest.takes, **self.takes} if manifest.takes.get(name) != self.takes.get(name)
        ]
        return reasons + (["its code changed"] if manifest.code != self.code else [])

    def bears(self, kind: type[Artifact], reasons: list[str]) -> bool:
        """Return whether a result is whole all the same: what was copied, or learned, needs not the files that it came from."""
        gone = {f"{name} changed" for name, digest in self.takes.items() if digest == ABSENT}
        return kind is Distilled and all(reason in gone for reason in reasons)


def wanted(stage: Stage, takes: Mapping[str, str], config: Config, run: Run | None) -> Wanted:
    """Return what a stage's manifest must say. takes: the digest of each artifact that the stage takes, by kind."""
    found = dict(takes)
    if stage.makes is Model:
        found |= model_files(config)
    if stage.makes is Distilled and run is not None:
        found |= student_files(config, run.folder.parent)
    if stage.makes is Prepared:
        found |= data_files(config)
    return Wanted(found, {name: config.section(name) for name in stage.sections}, code_digest(stage.code))


def outdated(kind: type[Artifact], config: Config, run: Run) -> str | None:
    """Return why what a run has of this kind is not what would be made now, None when it is; makes nothing.

    The run's rows and training are taken as they are: what would train otherwise is another run.
    """
    stage = stage_making(kind)
    folder = run.folder / stage.name
    if kind in (Prepared, Model):
        return None
    takes = {}
    for before in stage.takes:
        if has_use(before, config):
            if (reason := outdated(before, config, run)) is not None:
                return reason
            takes[before.kind] = _digest(before, run)
    if not (folder / MANIFEST).is_file():
        return f"there is no {folder}"
    want = wanted(stage, takes, config, run)
    reasons = want.differences(read_manifest(folder))
    return f"{stage.name}: {reasons[0]}" if reasons and not want.bears(kind, reasons) else None


def _digest(kind: type[Artifact], run: Run) -> str:
    """Return the digest of what a run has of this kind; of its rows, which may be gone, the one that its training recorded."""
    if kind is Prepared:
        return read_manifest(run.folder / stage_making(Model).name).takes[Prepared.kind]
    return read_manifest(run.folder / stage_making(kind).name).digest
