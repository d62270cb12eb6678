"""What a recipe loses on held-out rows, over all folds of several seeds; nothing is timed.

    python -m benchmarks.artifacts.tuning digits --seeds 10-14 [--set prune.epochs=80 …] [--folder FOLDER]

For choosing a recipe, on seeds that `python -m benchmarks.artifacts` does not report. Each fold is made up to its 8-bit ONNX
file by the stages that make it there, and rows are counted that are lost and won against the float model: by the pruned model,
and by the 8-bit file of it. What a stage made stays in FOLDER and is taken from there where its settings and all before it are
the same, so that recipes that prune otherwise share a trained model. Delete FOLDER once code has changed.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

import msgspec
import numpy as np

from benchmarks.artifacts.networks import NETS, ONNX, WORDS, write_config
from benchmarks.artifacts.pooled import HeldOut, pooled
from benchmarks.artifacts.recipe import make, used_stages
from benchmarks.artifacts.verdicts import PRUNED_INT8
from pipeline.artifacts import Artifact, Model, Prepared, Pruned, Quantized, Split
from pipeline.config import Config, load
from pipeline.data.prepare import Fold
from pipeline.errors import SlipwayError
from pipeline.manifest import MANIFEST
from pipeline.quantization.judge import answered
from pipeline.stages import Stage
from pipeline.training.deployed import answers, deployable_of
from serving.files import sha256_of
from serving.predictor import Predictor
from serving.schema import Array

_COUNTS = [f"{what}: {which}" for what in ("pruned", "8 bits", "8 bits on validation") for which in ("lost", "won")]
_HEAD = ["seed, fold", "rows", "parameters", "bytes", "distance", *_COUNTS, "there at most, points"]
_ROWS = 32  # in one call
_SMALLEST = 1e-7  # probability that has a logarithm


@dataclass(frozen=True)
class Tried:
    """Answers in place of the float model's: of the pruned model, of its 8-bit file, and of that to validation rows.

    bytes: of the file.
    """

    pruned: HeldOut
    int8: HeldOut
    validation: HeldOut
    parameters: int
    bytes: int


def main() -> int:
    """Print a line for each fold once it is made, and one for each seed with its bound."""
    parser = argparse.ArgumentParser(description="Rows that a recipe loses and wins on the folds of several seeds.")
    parser.add_argument("net", choices=NETS)
    parser.add_argument("--seeds", type=seeds_of, required=True, help="as 10-14: of the split and of all that is random")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys that win over the recipe's")
    parser.add_argument("--folder", type=Path, help="where what is made stays; default: a new one, deleted afterward")
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for cells in table(options.net, options.seeds, options.set, folder):
                print(f"| {' | '.join(cells)} |", flush=True)
        except SlipwayError as error:
            print(*error.lines, sep="\n", file=sys.stderr)
            return error.exit_code
    return 0


def seeds_of(text: str) -> range:
    """Return the seeds that a word names: 10-14, or 1."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def table(name: str, seeds: Sequence[int], words: Sequence[str], folder: Path) -> Iterator[list[str]]:
    """Yield the cells of each line. Rows of several seeds are the same ones, so their counts are added and have no bound."""
    yield from (_HEAD, ["---"] * len(_HEAD))
    net, path = NETS[name], write_config(name, folder)
    every: list[Tried] = []
    for seed in seeds:
        config = load(path, [*WORDS, *ONNX, *net.words, f"prepare.split_seed={seed}", f"seed={seed}", *words])
        for number in range(net.folds):
            every.append(tried(config, Fold(number, net.folds), folder))
            yield [f"{seed}, {number + 1}", *_cells(every[-1:])]
        bound = pooled([one.int8 for one in every[-net.folds :]]).bound
        yield [f"{seed}: at most {100 * bound:.2f} points", *_cells(every[-net.folds :])]
    yield ["all", *_cells(every)]


def tried(config: Config, fold: Fold, folder: Path) -> Tried:
    """Make a fold up to its 8-bit file, and answer the rows that no weight comes from."""
    made: dict[type[Artifact], Artifact] = {}
    for kind, stage in used_stages(config, Quantized).items():
        made[kind] = kept(config, stage, made, fold, folder)
    prepared, model = Prepared.open(made[Prepared].folder), Model.open(made[Model].folder)
    whole, pruned = deployable_of(prepared, model), deployable_of(prepared, Pruned.open(made[Pruned].folder))
    payload = made[Quantized].read(PRUNED_INT8)
    predictor = Predictor(payload, schema=prepared.schema, runtime="onnxruntime")

    def held(split: Split, *given: Callable[[Array], Array]) -> list[HeldOut]:
        inputs, targets = prepared.split(split)
        before, numbers = answers(whole, inputs), prepared.row_numbers(split)
        return [HeldOut(one(inputs), before, targets, numbers, prepared.schema) for one in given]

    def of_file(inputs: Array) -> Array:
        return answered(predictor, inputs, _ROWS)

    (validation,) = held("validation", of_file)
    small, int8 = held("test", partial(answers, pruned), of_file)
    return Tried(
        small,
        int8,
        validation,
        parameters=sum(p.numel() for p in pruned.parameters()),
        bytes=len(payload),
    )


def kept(config: Config, stage: Stage, made: Mapping[type[Artifact], Artifact], fold: Fold, folder: Path) -> Artifact:
    """Return what a stage makes, from its folder in `folder` where it is finished there."""
    takes = [made[kind].folder.name for kind in stage.takes if kind in made]
    settings = [stage.name, (fold.number, fold.of), {name: config.section(name) for name in stage.sections}, takes]
    out = folder / f"{stage.name}-{sha256_of(msgspec.json.encode(settings))[:16]}"
    if stage.makes is not None and (out / MANIFEST).is_file():
        return stage.makes.open(out)
    rmtree(out, ignore_errors=True)  # of a stage that was interrupted
    return make(config, stage, made, out=out, fold=fold)


def distance(held: HeldOut) -> float:
    """Return the KL divergence of the answers from the float model's, the mean over rows.

    Lost and won rows are few; this one tells recipes apart on fewer folds.
    """
    before, given = np.maximum(held.before, _SMALLEST), np.maximum(held.given, _SMALLEST)
    return float((before * np.log(before / given)).sum(axis=1).mean())


def _cells(some: Sequence[Tried]) -> list[str]:
    sizes = [sum(len(one.int8.targets) for one in some), max(one.parameters for one in some), max(one.bytes for one in some)]
    far = sum(distance(one.pruned) for one in some) / len(some)
    kinds = ([one.pruned for one in some], [one.int8 for one in some], [one.validation for one in some])
    counts = [sum(getattr(held.drop, key) for held in kind) for kind in kinds for key in ("lost", "gained")]
    bound = max(one.validation.drop.bound for one in some)  # what `select` compares with select.max_drop
    return [*(f"{size:,}" for size in sizes), f"{far:.4f}", *(str(count) for count in counts), f"{100 * bound:.2f}"]


if __name__ == "__main__":
    sys.exit(main())
