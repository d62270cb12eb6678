"""Every fault of a configuration is reported at once, with its place, its value and a way out."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline.config import Config, MlflowSettings, load, load_section, resolved_yaml
from pipeline.config.data_sections import TableData
from pipeline.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


def faults(file: Path | None, *words: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, words)
    return list(caught.value.lines)


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path, "train: {epochs: 7, batch_size: 16}\n"), ["train.epochs=3"])
    assert (config.train.epochs, config.train.batch_size, config.train.lr) == (3, 16, 1e-3)


def test_the_name_is_the_files_unless_it_is_written(tmp_path: Path) -> None:
    file = write(tmp_path, "seed: 1\n")
    assert load(file).name == "mine"
    assert load(file, ["name=other"]).name == "other"


@pytest.mark.parametrize("source", ["table, path: a.csv", "openml, dataset: 31", "python, file: a.py"])
def test_a_column_may_be_a_date_of_a_format_and_a_word_that_is_no_kind_is_named(source: str) -> None:
    section = f"data={{source: {source}, target: y}}"
    assert load(None, [section, "data.columns.x=date %m/%d/%Y"]).data.columns == {"x": "date %m/%d/%Y"}  # type: ignore[union-attr]
    assert faults(None, section, "data.columns={x: dat, z: date}") == [
        (
            "command line: data.columns.x: must be date and a format, as in 'date %d/%m/%Y', or one of number, boolean, "
            "category, date, ignore (value 'dat'); did you mean 'date'?"
        )
    ]


def test_all_faults_come_at_once_each_with_its_place_value_and_suggestion(tmp_path: Path) -> None:
    file = write(tmp_path, "seed: 1\ntrain:\n  lr: -1\n  epoch: 5\nevaluat: {}\n")
    assert set(faults(file, "train.batch_size=0")) == {
        "command line: train.batch_size: must be greater than or equal to 1, or auto (value 0)",
        f"{file}:3: train.lr: must be greater than 0 (value -1)",
        f"{file}:4: train.epoch: unknown key (value 5); did you mean 'epochs'?",
        f"{file}:5: evaluat: unknown key (value {{}}); did you mean 'evaluate'?",
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.epochs=abc", "must be a valid integer (value 'abc')"),
        ("train.epochs=1.5", "must be a valid integer (value 1.5)"),
        ("train.epochs=true", "must be a valid integer (value True)"),
        ("train.lr='1'", "must be a valid number (value '1')"),
        ("train.lr=.inf", "must be a finite number (value inf)"),
        ("train.lr=.nan", "(value nan)"),
        ("train=3", "is a section; write its keys below it (value 3)"),
        ("train.schedule.name=cos", "did you mean 'cosine'?"),
        ("model.name=cn", "must be one of mlp, cnn, resnet, custom (value 'cn'); did you mean 'cnn'?"),
        ("model.hiden=[3]", "unknown key (value [3]); did you mean 'hidden'?"),
        ("model.hidden=[]", "at least 1 item"),
        ("model.hidden=[0]", "greater than or equal to 1"),
        ("data.source=mnist", "must be one of digits, breast_cancer, wine, iris, diabetes"),
        ("prepare.test_fraction=0.9", "add up to 1 or more"),
        ("export.formats=[onnx, onx]", "did you mean 'onnx'?"),
        ("name=a/b", "must be 1 to 40 letters, digits, '_' or '-' (value 'a/b')"),
        ("seed=-1", "must be greater than or equal to 0 (value -1)"),
        ("no_equals", "write section.key=value"),
        ("=3", "write section.key=value"),
        ("train.lr=[1", "is not YAML"),
        ("train.optimizer.lr=1", "unknown key (value 1)"),
    ],
)
def test_one_fault_is_one_line_from_the_command_line(word: str, message: str) -> None:
    (line,) = faults(None, word)
    assert line.startswith("command line: ")
    assert message in line


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.threads=0", "train.threads: must be greater than or equal to 1, or auto (value 0)"),
        ("train.threads=many", "train.threads: must be a valid integer, or auto (value 'many')"),
        ("train.threads=aut", "train.threads: must be a valid integer, or auto (value 'aut'); did you mean 'auto'?"),
        ("train.threads=null", "train.threads: must be a valid integer, or auto (value None)"),
        ("train.batch_size=-1", "train.batch_size: must be greater than or equal to 1, or auto (value -1)"),
        ("train.compile=3", "train.compile: must be one of true, false, auto (value 3)"),
        ("train.compile=True", "train.compile: must be one of true, false, auto (value 'True'); did you mean 'true'?"),
        ("train.in_memory=yes", "train.in_memory: must be one of true, false, auto (value 'yes')"),
        ("train.loss.class_weights=x", "train.loss.class_weights: must be a list, or one of none, balanced (value 'x')"),
        ("train.loss.class_weights=[1, -2]", "train.loss.class_weights.1: must be greater than 0 (value -2)"),
        ("train.loss.class_weights=[1, '2']", "train.loss.class_weights.1: must be a valid number (value '2')"),
        ("train.clip_norm=0", "train.clip_norm: must be greater than 0, or null (value 0)"),
        ("monitor.feature_layers=3", "monitor.feature_layers: must be a list (value 3)"),
        ("monitor.layers=1", "monitor.layers: must be one of true, false (value 1)"),
        ("model=3", "model: is a section; write its keys below it (value 3)"),
    ],
)
def test_a_key_that_takes_several_kinds_of_value_has_one_fault(word: str, message: str) -> None:
    assert faults(None, word) == [f"command line: {message}"]


def test_each_wrong_item_of_such_a_key_is_named_with_the_keys_line(tmp_path: Path) -> None:
    file = write(tmp_path, "train:\n  threads: 0\n  loss:\n    class_weights:\n      - a\n      - -1\n")
    assert set(faults(file)) == {
        f"{file}:2: train.threads: must be greater than or equal to 1, or auto (value 0)",
        f"{file}:4: train.loss.class_weights.0: must be a valid number (value 'a')",
        f"{file}:4: train.loss.class_weights.1: must be greater than 0 (value -1)",
    }


def keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every key that is no section, as it is written on the command line."""
    for name, field in section.model_fields.items():
        inner = type(field.default)
        if issubclass(inner, BaseModel):
            yield from keys(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_a_mapping_is_refused_for_every_key_in_one_line_that_names_no_tag() -> None:
    sections = {"model.name", "data.source", "distill.student"}  # the first two choose one, the last one may be one
    swept = [key for key in keys(Config) if key not in sections]
    for key in swept:
        (line,) = faults(None, f"{key}={{x: 1}}")
        assert line.startswith(f"command line: {key}: must be "), line
        assert line.endswith("(value {'x': 1})"), line
    assert len(swept) > 80


def test_a_key_written_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    file = write(tmp_path, "train:\n  lr: 1e-3\n  epochs: 3\n  lr: 1e-4\n")
    assert faults(file) == [f"{file}:4: train.lr: written twice, first in line 2; keep one"]


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("1E3", 1e3), ("5", 5.0), (".5", 0.5), ("1.", 1.0), ("2.5e+1", 25.0)]
)
def test_numbers_are_numbers_however_people_write_them(text: str, value: float, tmp_path: Path) -> None:
    assert load(write(tmp_path, f"train: {{lr: {text}}}\n")).train.lr == value
    assert load(None, [f"train.lr={text}"]).train.lr == value


def test_words_that_yaml_1_1_takes_for_booleans_stay_words() -> None:
    assert load(None, ["name=no"]).name == "no"
    assert load(None, ["name=on"]).name == "on"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: [\n", ":2: not YAML"),
        ("- a\n- b\n", ":1: must be a mapping"),
        ("a: &x {b: *x}\n", "nested too deeply"),
        ("train: {lr: !!python/object:os.system {}}\n", "train.lr"),
    ],
)
def test_a_file_that_is_no_config_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    assert any(message in line for line in faults(write(tmp_path, text)))


def test_a_missing_or_binary_file_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "no such file" in faults(tmp_path / "nope.yaml")[0]
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in faults(tmp_path / "binary.yaml")[0]
    assert "is a directory" in faults(tmp_path)[0]


def test_another_model_on_the_command_line_leaves_the_files_model_keys_behind(tmp_path: Path) -> None:
    file = write(tmp_path, "model: {name: cnn, channels: [8]}\n")
    assert load(file, ["model.name=mlp", "model.hidden=[5]"]).model.model_dump() == {
        "name": "mlp",
        "hidden": (5,),
        "dropout": 0.0,
    }


def test_a_custom_model_needs_its_file_and_class(tmp_path: Path) -> None:
    assert set(faults(None, "model.name=custom")) == {
        "command line: model.file: required, but missing",
        "command line: model.class: required, but missing",
    }


@pytest.mark.parametrize("args", ["{a: .nan}", "{a: [1, .inf]}", "{a: !!timestamp 2026-01-01}"])
def test_arguments_of_a_custom_model_that_json_would_change_are_refused_with_their_path(args: str) -> None:
    (line,) = faults(None, "model.name=custom", "model.file=m.py", "model.class=Net", f"model.args={args}")
    assert "args.a" in line
    assert "must be a finite number" in line


def test_words_for_a_model_hold_whichever_side_of_its_name_they_stand(tmp_path: Path) -> None:
    file = write(tmp_path, "model: {name: cnn, channels: [8]}\n")
    for words in (["model.channels=[4]", "model.name=resnet"], ["model.name=resnet", "model.channels=[4]"]):
        assert load(file, words).model == load(None, ["model.name=resnet", "model.channels=[4]"]).model


@pytest.mark.parametrize("text", ["010", "1:30", "0x1F", "1_000", "2026-01-01"])
def test_what_yaml_1_1_takes_for_other_numbers_is_no_number(text: str) -> None:
    (line,) = faults(None, f"train.epochs={text}")
    assert f"must be a valid integer (value {text!r})" in line


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train={epochs: 1, epochs: 2}", "train.epochs: written twice"),
        ("seed=" + "9" * 5000, "seed"),
        ("seed=" + "[" * 3000, "is not YAML"),
        ("seed=!!int abc", "seed"),
        ("seed=4294967296", "must be less than or equal to 4294967295"),
        ("train.schedule.min_lr=1", "schedule.min_lr 1 is above lr 0.001"),
        ("export.formats=[onnx, onnx]", "names a format twice"),
    ],
)
def test_hostile_words_are_one_line_too(word: str, message: str) -> None:
    lines = faults(None, word)
    assert any(message in line for line in lines)
    assert all(len(line.splitlines()) == 1 for line in lines)


def test_mlflow_yaml_is_checked_like_any_config(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.yaml"
    assert load_section(MlflowSettings, file).experiment == "slipway"
    file.write_text("experimnt: x\n")
    with pytest.raises(ConfigError, match="did you mean 'experiment'"):
        load_section(MlflowSettings, file)


settings = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**6),
        "train.lr": st.floats(1e-9, 10, allow_nan=False),
        "train.epochs": st.integers(1, 10**4),
        "train.clip_norm": st.none() | st.floats(1e-3, 10),
        "train.schedule.name": st.sampled_from(["constant", "step", "cosine", "plateau"]),
        "prepare.test_fraction": st.floats(0.01, 0.5),
        "name": st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True).map(lambda name: f"'{name}'"),
        "export.batch_sizes": st.lists(st.integers(1, 100), min_size=1, max_size=4),
    }
)


@given(settings)
def test_what_is_written_is_read_back_the_same(tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]) -> None:
    words = [f"{key}={'null' if value is None else value}" for key, value in values.items()]
    config = load(None, words)
    file = tmp_path_factory.mktemp("config") / "again.yaml"
    file.write_text(resolved_yaml(config.model_dump(mode="json", by_alias=True)))
    assert load(file) == config
    assert isinstance(config, Config)


def test_a_path_without_a_source_means_a_table(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("data: {path: people.csv, target: income}\n")
    data = load(file).data
    assert isinstance(data, TableData)
    assert (data.path, data.target) == ("people.csv", "income")


def test_several_targets_are_a_list_and_an_empty_one_is_refused() -> None:
    data = load(None, ["data.path=a.csv", "data.target=[x,y]"]).data
    assert isinstance(data, TableData)
    assert data.target == ("x", "y")
    assert faults(None, "data.path=a.csv", "data.target=[]") == [
        "command line: data.target: must be text or must have at least 1 item (value [])"
    ]


def test_a_source_knows_its_own_keys_and_says_what_it_lacks() -> None:
    assert faults(None, "data.source=table") == [
        "command line: data.target: required, but missing",
        "command line: data.path: required, but missing",
    ]
    assert faults(None, "data.source=wine", "data.path=a.csv") == [
        "command line: data.path: unknown key (value 'a.csv'); known: source"
    ]
    assert faults(None, "data.source=tabel")[0].endswith("(value 'tabel'); did you mean 'table'?")


def test_a_split_by_a_column_needs_the_column_and_no_other_split_takes_one() -> None:
    (line,) = faults(None, "prepare.split=grouped")
    assert "split: grouped needs prepare.split_column, the column that it goes by" in line
    (line,) = faults(None, "prepare.split_column=patient")
    assert "is for split grouped, time or column, and split is auto" in line
