"""Which `data:` section fits a file or a folder."""

from pathlib import Path

from pipeline.config.data_sections import ArraysData, DataConfig, ImagesData, PythonData, TableData
from pipeline.data.sources.picture_folders import SUFFIXES, Below, pictures_below
from pipeline.errors import UserError

_TABLES = (".csv", ".tsv", ".txt", ".parquet", ".pq")
_PARQUET = (".parquet", ".pq")
_ARRAYS = (".npz", ".npy")
_NAMES_OF_TARGETS = (
    ("inputs", "targets"),
    ("images", "labels"),
    ("features", "target"),
    ("X", "y"),
    ("x", "y"),
    ("data", "labels"),
)
ANY_TARGET = "target"  # stands in a section until the columns are known


def section_for(path: Path, target: str | None) -> DataConfig:
    """Return the section for a path; raise UserError, in one line, for what none fits.

    The target of a table is written as it is given; whether it names a column is for the reader of the table to say.
    """
    place = str(path)
    if path.is_dir():
        return _folder(path, target)
    if not path.is_file():
        raise UserError(f"init: there is no file or folder {place!r}; paths are relative to the folder of the command")
    suffix = path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if suffix in _TABLES:
        return TableData(path=place, target=target or ANY_TARGET)
    if suffix in _ARRAYS:
        targets = _targets_beside(path) if suffix == ".npy" else None
        return ArraysData(path=place, targets_path=targets, target=target or ANY_TARGET)
    if suffix == ".py":
        return PythonData(file=place, target=target or ANY_TARGET)
    if suffix in SUFFIXES:
        raise UserError(f"init: {place!r} is one picture; name the folder that holds a folder of pictures for each class")
    raise UserError(
        f"init: {place!r} is no kind of file that is read: {', '.join((*_TABLES, *_ARRAYS))}, a .py file, "
        "or a folder of Parquet files or pictures"
    )


def _folder(path: Path, target: str | None) -> DataConfig:
    below = pictures_below(path)
    found = {Path(name).suffix.lower() for name in below.others}
    if found & set(_PARQUET):
        return TableData(path=str(path), target=target or ANY_TARGET)
    if below.pictures:
        labels = [] if _has_classes(below) else [*path.glob("*.csv"), *path.glob("*.tsv")]
        if len(labels) != 1:
            return ImagesData(path=str(path), target=target or "label")
        return ImagesData(path=str(_listed_below(path, below, labels[0])), labels=str(labels[0]), target=target or "label")
    seen = f"it holds {', '.join(sorted(found - {''})[:5])}" if found - {""} else "it is empty"
    raise UserError(f"init: the folder {str(path)!r} has neither Parquet files nor pictures ({seen}); name a folder that has")


def _listed_below(path: Path, below: Below, labels: Path) -> Path:
    """Return the folder that a file of labels names pictures of: images/ beside it, unless it writes images/0.png itself."""
    alone = len(below.classes) == 1 and all("/" in name for name in below.pictures)
    if not alone or f"{below.classes[0]}/" in labels.read_text(encoding="utf-8", errors="replace").replace("\\", "/"):
        return path
    return path / below.classes[0]


def _has_classes(below: Below) -> bool:
    """Return whether the folders look like classes: one alone, such as images/, and train/ beside test/ do not."""
    return len(below.classes) >= 2 and not below.are_splits


def _targets_beside(path: Path) -> str | None:
    """Return the .npy file of targets that a name such as inputs.npy or train_x.npy points to."""
    for inputs, targets in _NAMES_OF_TARGETS:
        if inputs in path.stem:
            before, _, after = path.stem.rpartition(inputs)
            beside = path.with_name(f"{before}{targets}{after}.npy")
            if beside.is_file():
                return str(beside)
    return None
