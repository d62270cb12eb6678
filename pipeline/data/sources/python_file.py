"""The user's own Python file: a function of it returns the rows."""

import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.data_sections import PythonData
from pipeline.data.sources import Opened, existing, names_of
from pipeline.data.sources.arrays import from_arrays
from pipeline.data.sources.header import check_target
from pipeline.errors import DataError, UserError
from serving.errors import first_line

_FRAMES = ("polars", "pandas")


def open_python(section: PythonData) -> Opened:
    """Return what the function of the user's file returns: a data frame or a mapping of columns, or (inputs, targets).

    Raises UserError, with file and line, for whatever the user's code raises, and DataError for what is no rows.
    """
    path = existing(section.file, "data.file")
    function = _function(path, section)
    result = _run(path, section, lambda: function(**section.args), _call(section))
    if isinstance(result, tuple) and len(result) == 2:
        return _from_pair(result[0], result[1], section)
    if not isinstance(result, Mapping) and not _is_frame(result):
        raise DataError(
            f"data.function: {_call(section)} of {section.file} returned {_kind(result)}; return a data frame of polars or "
            "pandas, a dict of columns, or (inputs, targets) as arrays"
        )
    from pipeline.data.sources.parquet import from_frame

    table = from_frame(result, section.file)
    check_target(table.frame.collect_schema().names(), section.target, origin=section.file)
    return Opened(table, names_of(section.target), section.task, section.columns)


def _from_pair(inputs: Any, targets: Any, section: PythonData) -> Opened:
    names = names_of(section.target)
    if len(names) > 1:
        raise DataError(f"data.target: {', '.join(names)}: arrays have one name for all targets; give one")
    if section.columns:
        raise DataError(
            f"data.columns: {', '.join(section.columns)}: {section.file} returned arrays, not columns; return a data frame"
        )
    taken = {"inputs": inputs, "targets": targets}
    arrays = {name: _array(value, name, section) for name, value in taken.items()}
    return from_arrays(arrays["inputs"], arrays["targets"], target=names[0], task=section.task, origin=section.file)


def _array(value: Any, name: str, section: PythonData) -> NDArray[Any]:
    """Return an array, or a list, of numbers or texts as NumPy's; `name` says which of the two it is."""
    problem = f"is {_kind(value)}"
    if (isinstance(value, list) or hasattr(value, "__array__")) and not _is_frame(value):
        try:
            array = np.asarray(value)
        except (ValueError, TypeError, RuntimeError) as error:  # ragged lists; tensors on a device, or with gradients
            problem = f"make no array: {first_line(error)}"
        else:
            if array.dtype == object and all(isinstance(item, str) for item in array.flat):
                array = array.astype(np.str_)
            if array.dtype != object:
                return array
            problem = f"hold objects, such as {_kind(array.flat[0])}" if array.size else "are empty"
    raise DataError(
        f"data.function: the {name} that {_call(section)} of {section.file} returned {problem}; return arrays of numbers, "
        "booleans or texts, or else a data frame"
    )


def _function(path: Path, section: PythonData) -> Callable[..., Any]:
    """Run the file and return its function. Nothing is read from or written to __pycache__: it can be older than the file."""
    module = ModuleType("slipway_data_file")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look a class's module up by name

    def run() -> None:
        exec(compile(path.read_bytes(), path, "exec"), vars(module))  # noqa: S102  # what data.file is for

    _run(path, section, run, "importing it")
    found = getattr(module, section.function, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    functions = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", None) == module.__name__
    ]
    raise UserError(
        f"data.function: {section.file} has no function {section.function!r}; its functions are: "
        f"{', '.join(functions) or 'none'}"
    )


def _run(path: Path, section: PythonData, work: Callable[[], Any], what: str) -> Any:
    try:
        return work()
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        line = _line_of(error, path)
        place = f"{section.file}, line {line}" if line else section.file
        raise UserError(f"data.file: {place}: {what} failed: {first_line(error)}") from error


def _line_of(error: BaseException, path: Path) -> int | None:
    """Return the line of the user's file that an error came from, or came through."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None


def _call(section: PythonData) -> str:
    return f"{section.function}({', '.join(f'{name}={value!r}' for name, value in section.args.items())})"


def _is_frame(value: object) -> bool:
    kind = type(value)
    return kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] in _FRAMES


def _kind(value: object) -> str:
    """Return the type of a value, with its module, as messages call it."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    kind = type(value)
    return "None" if value is None else kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
