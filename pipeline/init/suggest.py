"""A sensible start: network, batches, epochs and decay by the number of rows and by what a row is.

Those of tables of up to 1,000 train rows were chosen on scikit-learn's, over several splits; all are a start to improve on, not
a search.
"""

from dataclasses import dataclass

from pipeline.init.entries import Entry
from pipeline.init.look import Look

_HEAVY = 2.0  # skew of a target that is better learned as its logarithm
_RARE = 0.2  # rarest class as a share of the most frequent
_TRAIN = 0.65  # share of rows that training sees
_SMALL_IMAGE = 64  # pixels of the shorter side


@dataclass(frozen=True)
class Size:
    """Settings for tables of up to so many train rows."""

    rows: float
    hidden: list[int]
    epochs: int
    batch_size: int | str
    lr: float
    weight_decay: float
    patience: int


SIZES = (
    Size(1_000, [32], 150, 32, 3e-3, 0.3, 25),
    Size(10_000, [64, 32], 100, 32, 2e-3, 0.1, 20),
    Size(100_000, [128, 64], 60, 128, 1e-3, 0.01, 10),
    Size(1_000_000, [256, 128], 30, 512, 1e-3, 0.01, 5),
    Size(float("inf"), [256, 128], 8, "auto", 1e-3, 0.01, 2),
)


def suggestions(look: Look) -> list[Entry]:
    """Return the sections `prepare`, `model`, `train` and `augment`; empty ones are left out when they are written."""
    rows = round(look.target.rows * _TRAIN)
    size = next(size for size in SIZES if rows < size.rows)
    image = len(look.shape) >= 2
    return [
        Entry("prepare", tuple(_prepare(look))),
        Entry(
            "model", tuple(_image_model(look.shape) if image else _table_model(size)), comment=f"for about {rows:,} train rows"
        ),
        Entry("train", tuple(_train(look, size, image=image))),
        *([Entry("augment", tuple(_augment(look.shape)), comment="random changes of train pictures")] if image else []),
    ]


def _prepare(look: Look) -> list[Entry]:
    found = _split(look)
    skew = look.target.skew or 0.0
    if _has_logarithm(look):
        found.append(Entry("normalize_target", "log", f"heavy-tailed: skew {skew:.1f}; undone inside the model"))
    elif look.task == "regression" and abs(skew) > _HEAVY:
        found.append(
            Entry("normalize_target", "standard", f"heavy-tailed: skew {skew:.1f}; log needs values above -1; see train.loss")
        )
    if look.columns is not None and any(column.kind == "number" for column in look.columns.features):
        found.append(Entry("normalize", "robust", "or quantile: where numbers have outliers", off=True))
    return found


def _has_logarithm(look: Look) -> bool:
    """Return whether the target is heavy-tailed, and prepare's logarithm, log(1 + y), is defined for all of it."""
    skew, least = look.target.skew, look.target.least
    return look.task == "regression" and skew is not None and skew > _HEAVY and least is not None and least > -1


def _split(look: Look) -> list[Entry]:
    """Return ways to split that the columns suggest, switched off: only the user knows what rows belong together."""
    found: list[Entry] = []
    dates = [column.name for column in look.columns.features if column.kind == "date"] if look.columns else []
    if dates:
        found += [
            Entry("split", "time", "judged on the newest rows, as in use; the column is no feature then", off=True),
            Entry("split_column", dates[0], off=True),
        ]
    targets = look.columns.target.names if look.columns else ()
    for fact in [fact for fact in look.facts if fact.group and fact.name not in targets][:2]:
        found += [
            Entry("split", "grouped", "rows of one group stay in one split; the column is no feature then", off=True),
            Entry("split_column", fact.name, fact.words, off=True),
        ]
    return found


def _table_model(size: Size) -> list[Entry]:
    return [Entry("name", "mlp"), Entry("hidden", size.hidden, "width of each hidden layer")]


def _image_model(shape: tuple[int, ...]) -> list[Entry]:
    """shape: (height, width) or (channels, height, width)."""
    side = min(shape[-2:])
    if side < _SMALL_IMAGE:
        channels = [32, 64] if side <= 16 else [32, 64, 128]
        return [Entry("name", "cnn"), Entry("channels", channels, "each block but the last halves the image")]
    channels = [32, 64, 128] if side < 2 * _SMALL_IMAGE else [16, 32, 64, 128]
    return [Entry("name", "resnet"), Entry("channels", channels, "each group but the first halves the image")]


def _train(look: Look, size: Size, *, image: bool) -> list[Entry]:
    found: list[Entry] = []
    if not image:
        found += [
            Entry("epochs", size.epochs, "at most; early stopping may end sooner"),
            Entry("batch_size", size.batch_size),
            Entry("lr", size.lr),
            Entry("optimizer", (Entry("weight_decay", size.weight_decay, "more for few rows, less for many"),)),
            Entry("early_stopping", (Entry("patience", size.patience),)),
        ]
    rarest = look.target.rarest
    if rarest is not None and rarest < _RARE:
        why = f"the rarest class has {100 * rarest:.2g} % of the rows of the most frequent; balanced costs accuracy"
        weights = Entry("class_weights", "balanced", why, off=True)
        found.append(Entry("loss", (weights,)))
    elif look.task == "regression" and abs(look.target.skew or 0) > _HEAVY and not _has_logarithm(look):
        found.append(Entry("loss", (Entry("name", "huber", "less moved by values far out", off=True),)))
    return found


def _augment(shape: tuple[int, ...]) -> list[Entry]:
    found = [Entry("rotate_degrees", 10.0), Entry("translate", 0.08), Entry("scale", 0.1)]
    found.append(Entry("flip_horizontal", 0.5, "where a mirror image means the same", off=True))
    if len(shape) == 3 and shape[0] == 3:
        found.append(Entry("brightness", 0.1, off=True))
    return found
