"""prune: Prepared + Model -> Pruned."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from pipeline.artifacts import Model, Prepared
from pipeline.compression.foreseen import check_prune
from pipeline.compression.pruning import Reduced, Size, cut_channels, size_of, zero_weights
from pipeline.compression.pruning_training import Training
from pipeline.compression.sparsity import sparsity_of
from pipeline.config import Config
from pipeline.config.compression_sections import PruneConfig
from pipeline.errors import GateRefused
from pipeline.models.macs import CONVENTION
from pipeline.stages import Outcome
from pipeline.tracking import Tracker
from pipeline.training.assembly import architecture_of
from pipeline.training.interrupt import Interrupt
from pipeline.training.weights import dump, load
from serving.files import write_atomic

REPORT = "prune.json"
_FAR = 0.1  # between the share of channels that was asked for and the one that went, before the summary says so


def run(config: Config, prepared: Prepared, model: Model, *, out: Path, tracker: Tracker) -> Outcome:
    """Cut the model or fill it with zeros, train it on, and prove that it became smaller where that was promised."""
    section = config.prune
    check_prune(config)
    source = model.source()
    if source is not None:
        write_atomic(out / Model.SOURCE, source)
    whole = load(model.read(Model.BEST), source=source)
    architecture = architecture_of(config, prepared.schema, prepared.statistics)
    with Interrupt() as interrupt:
        training = Training(config, prepared, architecture, whole, source=source, out=out, tracker=tracker, interrupt=interrupt)
        metrics = training.measured(whole)
        before = size_of(whole, training.examples())
        reduce = cut_channels if section.method == "structured" else zero_weights
        reduced = reduce(load(model.read(Model.BEST), source=source), section, training, seed=config.seed)

    after = size_of(reduced.net, training.examples())
    write_atomic(out / Model.BEST, dump(training.architecture_of(reduced.net), reduced.net.state_dict()))
    training.write_history()
    sparsity = sparsity_of(reduced.net)
    report = {
        "settings": config.section("prune"),
        "before": {"size": before, "validation": metrics},
        "after": {"size": after, "validation": reduced.steps[-1].validation},
        "steps": reduced.steps,
        "layers": {layer: {"before": old, "after": new} for layer, (old, new) in reduced.widths.items()},
        "whole": reduced.whole,
        "sparsity": sparsity,
        "macs": CONVENTION,
    }
    write_atomic(out / REPORT, msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    if section.method == "structured":
        _prove_smaller(before, after)
    told = _told(config, before, after, sparsity, (metrics, reduced), prepared.schema.headline)
    numbers = {f"prune/{name}": float(getattr(after, name)) for name in ("parameters", "stored_bytes", "macs")}
    numbers |= {f"val/{name}": value for name, value in reduced.steps[-1].validation.items()} | {"prune/sparsity": sparsity}
    tracker.metrics(numbers)
    return Outcome(told, metrics=numbers, device=training.device, notes={"whole": reduced.whole})


def _prove_smaller(before: Size, after: Size) -> None:
    for name, what in (("stored_bytes", "bytes"), ("macs", "MACs a row")):
        old, new = getattr(before, name), getattr(after, name)
        if not new < old:
            raise GateRefused(f"prune: the pruned model has {new:,} {what}, and the whole one {old:,}; raise prune.amount")


def _told(
    config: Config, before: Size, after: Size, sparsity: float, found: tuple[dict[str, float], Reduced], headline: str
) -> str:
    """Return one line: what became smaller, and what it cost."""
    section, (metrics, reduced) = config.prune, found
    last = reduced.steps[-1]
    quality = f"val {headline} {metrics[headline]:.4g} -> {last.cut[headline]:.4g} cut"
    if last.trained is not None:
        quality += f" -> {last.trained[headline]:.4g} trained on"
    quality = "; ".join([quality, *_remarks(section, reduced)])
    if section.method != "structured":
        return f"{section.method}: sparsity {sparsity:.1%}, stored bytes and MACs unchanged, no speed expected; {quality}"
    return (
        f"{section.importance}: {before.parameters:,} -> {after.parameters:,} parameters, "
        f"{_macs(before.macs, after.macs)} MACs a row; {quality}"
    )


def _remarks(section: PruneConfig, reduced: Reduced) -> Iterator[str]:
    """Yield what went otherwise than was asked for."""
    worse = [str(step.number) for step in reduced.steps if step.trained is not None and step.kept == "cut"]
    if worse:
        where = f" after step {', '.join(worse)}" if section.steps > 1 else ""
        yield f"training on made it worse{where}, so the cut is kept; lower prune.lr"
    if len(reduced.steps) < section.steps:
        yield f"{len(reduced.steps)} of {section.steps} steps took channels out"
    if reduced.share is not None and abs(reduced.share - section.amount) > _FAR:
        hint = "; prune.round_to=1 rounds less" if section.round_to > 1 else ""
        yield f"{reduced.share:.0%} of the channels went instead of {section.amount:.0%}, since widths are rounded{hint}"


def _macs(before: int, after: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if before >= size:
            return f"{before / size:.3g} -> {after / size:.3g} {unit}"
    return f"{before} -> {after}"
