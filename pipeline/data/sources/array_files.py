"""Arrays out of .npz and .npy files, chosen by name, without pickle."""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.config.data_sections import ArraysData
from pipeline.data.sources import existing
from pipeline.errors import DataError
from serving.errors import first_line

_INPUTS = ("inputs", "x", "X", "data", "images", "features")
Result = TypeVar("Result")
_TARGETS = ("targets", "y", "Y", "labels", "target", "label")


def read_arrays(section: ArraysData) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return inputs and targets; .npy files are mapped. Raises DataError for files that are not whole, or lack them."""
    path = existing(section.path, "data.path")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        if section.targets_path is not None:
            raise DataError(
                f"data.targets_path: {section.path!r} is an .npz file, which holds its targets; set it to null, "
                "or save the inputs as .npy"
            )
        return _from_npz(path, section)
    if suffix != ".npy":
        raise DataError(f"data.path: {section.path!r} is neither .npz nor .npy")
    if section.targets_path is None:
        raise DataError(f"data.targets_path: name the .npy file of targets that belongs to {section.path!r}")
    return _from_npy(path), _from_npy(existing(section.targets_path, "data.targets_path"))


def _from_npy(path: Path) -> NDArray[Any]:
    return _read(path, lambda: np.load(path, mmap_mode="r", allow_pickle=False))


def _from_npz(path: Path, section: ArraysData) -> tuple[NDArray[Any], NDArray[Any]]:
    members = _read(path, lambda: _members(path))
    inputs = _chosen(section.inputs, _INPUTS, members, key="inputs", origin=section.path)
    targets = _chosen(section.targets, _TARGETS, members, key="targets", origin=section.path)
    for name in (inputs, targets):
        if members[name][1].hasobject:
            raise DataError(_objects(f"{name!r} of {section.path}"))
    with np.load(path, allow_pickle=False) as file:
        return _read(path, lambda: file[inputs]), _read(path, lambda: file[targets])


Members = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]


def _members(path: Path) -> Members:
    """Return shape and type of each array, without reading it."""
    found: Members = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                found[name.removesuffix(".npy")] = (shape, dtype)
    return found


def _chosen(wanted: str, usual: tuple[str, ...], members: Members, *, key: str, origin: str) -> str:
    """Return the name of a member: the one that the config names, else the only one with a usual name."""
    fits = [name for name in ((wanted,) if wanted != "auto" else usual) if name in members]
    if len(fits) == 1:
        return fits[0]
    if fits:
        problem = f"could be {' or '.join(fits)}; say which one"
    else:
        problem = (
            f"{origin} has no array {wanted!r}" if wanted != "auto" else f"no array of {origin} is called {', '.join(usual)}"
        )
    listed = ", ".join(f"{name} {shape} {dtype}" for name, (shape, dtype) in members.items())
    raise DataError(f"data.{key}: {problem}; its arrays are: {listed or 'none'}")


def _read(path: Path, read: Callable[[], Result]) -> Result:
    """Return what a reader of NumPy's returns; its errors become one line."""
    try:
        return read()
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the content
        if any(word in str(error) for word in ("allow_pickle", "pickled", "Python objects")):
            raise DataError(_objects(str(path))) from error
        raise DataError(f"data: {path} is no whole file of NumPy's: {first_line(error)}; write it again") from error


def _objects(what: str) -> str:
    return (
        f"data: {what} holds Python objects, which only pickle reads, and a pickle can run code; save numbers, or text as "
        "np.array(values, dtype=str)"
    )
