"""The user's own Python file: what it returns becomes rows, and its errors are told with file and line."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.data_sections import PythonData
from pipeline.data.sources import Opened, files_of
from pipeline.data.sources.python_file import open_python
from pipeline.data.table import Arrays, Table
from pipeline.errors import UserError


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def opened(text: str, **keys: Any) -> Opened:
    Path("mine.py").write_text(text)
    return open_python(PythonData(file="mine.py", **keys))


def refused(text: str, **keys: Any) -> str:
    with pytest.raises(UserError) as error:
        opened(text, **keys)
    (line,) = error.value.lines
    return line


@pytest.mark.parametrize(
    "rows",
    [
        "pl.DataFrame({'age': [1.5, None, 3.0], 'city': ['Bern', 'Rome', None], 'target': ['a', 'b', 'a']})",
        "pd.DataFrame({'age': [1.5, np.nan, 3.0], 'city': ['Bern', 'Rome', None], 'target': ['a', 'b', 'a']})",
        "{'age': np.array([1.5, np.nan, 3.0]), 'city': ['Bern', 'Rome', None], 'target': ['a', 'b', 'a']}",
    ],
)
def test_data_frames_and_mappings_become_the_same_table(rows: str) -> None:
    result = opened(f"import numpy as np, pandas as pd, polars as pl\ndef load():\n    return {rows}\n")
    assert isinstance(result.source, Table)
    assert (result.target, result.source.rows, result.source.origin) == (("target",), 3, "mine.py")
    frame = result.source.frame.collect()
    assert frame.to_dict(as_series=False) == {
        "age": [1.5, None, 3.0],
        "city": ["Bern", "Rome", None],
        "target": ["a", "b", "a"],
    }


def test_what_the_config_says_of_columns_goes_with_the_table() -> None:
    text = "def load():\n    return {'a': [1, 2], 'b': [0, 1], 'c': [1, 0]}\n"
    result = opened(text, target=("b", "c"), task="multilabel", columns={"a": "category"})
    assert (result.target, result.task, result.kinds) == (("b", "c"), "multilabel", {"a": "category"})


@pytest.mark.parametrize("targets", ["['cat', 'dog']", "np.array(['cat', 'dog'], dtype=object)", "torch.tensor([0, 1])"])
def test_inputs_and_targets_are_arrays_of_any_library(targets: str) -> None:
    result = opened(f"import numpy as np, torch\ndef load():\n    return np.zeros((2, 4, 4)), {targets}\n", target="animal")
    assert isinstance(result.source, Arrays)
    assert (result.source.target, result.source.task) == ("animal", "classification")
    assert len(result.source.classes) == 2


def test_the_function_is_called_with_the_arguments_of_the_config() -> None:
    text = "def some(*, rows, start=0):\n    return {'x': list(range(start, start + rows)), 'target': [0.5] * rows}\n"
    result = opened(text, function="some", args={"rows": 3, "start": 5})
    assert isinstance(result.source, Table)
    assert result.source.frame.collect()["x"].to_list() == [5, 6, 7]


def test_the_rows_depend_on_the_file() -> None:
    assert files_of(PythonData(file="mine.py")) == [Path("mine.py")]


def test_dataclasses_of_the_file_work() -> None:
    text = "from dataclasses import dataclass\n@dataclass\nclass Row:\n    x: 'int'\n"
    text += "def load():\n    return {'x': [Row(3).x], 'target': [1]}\n"
    assert isinstance(opened(text).source, Table)


ROWS = "; return a data frame of polars or pandas, a dict of columns, or (inputs, targets) as arrays"
ARRAYS = "; return arrays of numbers, booleans or texts, or else a data frame"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def load():\n    return 1 / 0\n", "data.file: mine.py, line 2: load() failed: ZeroDivisionError: division by zero"),
        ("import os\n\nraise RuntimeError('no\\nluck')\n", "data.file: mine.py, line 3: importing it failed: RuntimeError: no"),
        ("def load(:\n", "data.file: mine.py, line 1: importing it failed: SyntaxError: invalid syntax (mine.py, line 1)"),
        ("import sys\nsys.exit('bye')\n", "data.file: mine.py, line 2: importing it failed: SystemExit: bye"),
        (
            "def inner():\n    return {}['x']\ndef load():\n    return inner()\n",
            "data.file: mine.py, line 2: load() failed: KeyError: 'x'",
        ),
        (
            "import math\ndef load():\n    return math.fsum(['x'])\n",
            "data.file: mine.py, line 3: load() failed: TypeError: must be real number, not str",
        ),
        (
            "def load(rows):\n    return rows\n",
            "data.file: mine.py: load() failed: TypeError: load() missing 1 required positional argument: 'rows'",
        ),
        ("import math\ndef lod():\n    pass\n", "data.function: mine.py has no function 'load'; its functions are: lod"),
        ("load = 3\n", "data.function: mine.py has no function 'load'; its functions are: none"),
        ("def load():\n    pass\n", "data.function: load() of mine.py returned None" + ROWS),
        ("def load():\n    return 1, 2, 3\n", "data.function: load() of mine.py returned a tuple of 3" + ROWS),
        (
            "import pathlib\ndef load():\n    return pathlib.PurePosixPath('x')\n",
            "data.function: load() of mine.py returned pathlib.PurePosixPath" + ROWS,
        ),
        (
            "import numpy as np\ndef load():\n    return np.zeros((2, 2)), np.array([{}, {}])\n",
            "data.function: the targets that load() of mine.py returned hold objects, such as dict" + ARRAYS,
        ),
        (
            "def load():\n    return [[1, 2], [3, 4]], ['a', None]\n",
            "data.function: the targets that load() of mine.py returned hold objects, such as str" + ARRAYS,
        ),
        (
            "def load():\n    return 3, [1]\n",
            "data.function: the inputs that load() of mine.py returned is int" + ARRAYS,
        ),
    ],
)
def test_the_users_errors_are_one_line_with_file_and_line(text: str, message: str) -> None:
    assert refused(text) == message


def test_ragged_lists_are_refused_in_numpys_words() -> None:
    line = refused("def load():\n    return [[1, 2], [3]], [0, 1]\n")
    assert line.startswith("data.function: the inputs that load() of mine.py returned make no array: ValueError: setting an")
    assert line.endswith(ARRAYS)


def test_the_call_is_shown_with_its_arguments() -> None:
    line = refused("def load(a, b):\n    raise ValueError('no')\n", args={"a": 1, "b": "x"})
    assert line == "data.file: mine.py, line 2: load(a=1, b='x') failed: ValueError: no"


def test_a_target_that_is_no_column_is_refused_with_the_columns() -> None:
    line = refused("def load():\n    return {'x': [1, 2], 'traget': [0, 1]}\n")
    assert line == "mine.py: data.target: no column is called 'target'; did you mean 'traget'? there are 'x', 'traget'"


def test_keys_that_arrays_do_not_have_are_refused() -> None:
    text = "def load():\n    return [[1, 2], [3, 4]], [0, 1]\n"
    assert refused(text, target=("a", "b")) == "data.target: a, b: arrays have one name for all targets; give one"
    assert refused(text, columns={"x0": "ignore"}).startswith("data.columns: x0: mine.py returned arrays, not columns")


def test_a_file_that_is_missing_is_refused() -> None:
    with pytest.raises(UserError, match=r"^data.file: there is no file 'mine.py'"):
        open_python(PythonData(file="mine.py"))


def test_a_file_that_has_just_been_changed_is_read_anew() -> None:
    text = "def load():\n    return {'x': [1, 2], 'target': [0, 1]}\n"
    for value in "12345":  # the same size within a second: what Python compiled before would fit
        result = opened(text.replace("[1,", f"[{value},"))
        assert isinstance(result.source, Table)
        assert result.source.frame.collect()["x"].to_list() == [int(value), 2]
    assert [path.name for path in Path().iterdir()] == ["mine.py"]
