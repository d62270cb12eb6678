"""Stages run when they must, are skipped when nothing changed, and every command works on the run that its user means."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest
import yaml

from pipeline.exporting.parity import Parity, compare
from pipeline.stages import STAGES, chain, stage_named
from tests.conftest import Project


def test_missing_stages_run_first_and_unchanged_ones_are_skipped_with_a_line_each(project: Project) -> None:
    _, out, _ = project.run("export")
    assert [line.split()[0] for line in out if " s  " in line] == ["prepare", "train", "export"]
    _, out, _ = project.run("export")
    assert len(out) == 3
    assert all("skipped, unchanged since" in line and " -> " in line for line in out)


def test_a_run_is_continued_by_the_next_command_without_its_words(project: Project) -> None:
    project.run("train", "train.epochs=2")
    trained = project.latest
    _, out, _ = project.run("export")
    assert project.latest == trained
    assert "skipped" in out[1]
    assert yaml.safe_load((trained / "config.yaml").read_text())["train"]["epochs"] == 2


@pytest.mark.parametrize("words", [("seed=1",), ("name=x", "seed=2"), ("train.epochs=2", "prepare.split_seed=3")])
def test_later_commands_in_any_order_stay_with_the_run(project: Project, words: tuple[str, ...]) -> None:
    project.run("train", *words)
    trained = project.latest
    for stage in ("evaluate", "export", "evaluate", "export"):
        assert project.run(stage)[0] == 0
        assert project.latest == trained
    assert len([path for path in (project.folder / "runs").iterdir() if not path.is_symlink()]) == 1


def replace_passed(parity: Parity) -> Parity:
    return msgspec.structs.replace(parity, passed=False)


def test_a_refused_export_is_forgotten_and_the_good_one_is_taken_next(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    ready.run("export")
    monkeypatch.setattr(
        "pipeline.exporting.proving.compare", lambda *arguments, **options: replace_passed(compare(*arguments, **options))
    )
    assert ready.run("export", "export.atol=0.01")[0] == 3
    monkeypatch.undo()
    monkeypatch.chdir(ready.folder)
    _, out, _ = ready.run("export")
    assert all("skipped" in line for line in out), "the good export is still there, and is what a plain command asks for"


def test_a_run_that_finds_its_data_prepared_records_it_all_the_same(project: Project) -> None:
    project.run("train", "seed=1")
    project.run("train", "seed=2")
    records = [json.loads(line) for line in (project.latest / "journal.jsonl").read_text().splitlines()]
    params = [record["values"] for record in records if record["kind"] == "params" and record["stage"] == "prepare"]
    assert params[0]["data.source"] == "iris"


def test_a_named_run_is_evaluated_on_the_rows_it_was_trained_on(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    ready.run("evaluate")
    run, before = ready.latest.name, (ready.latest / "evaluate" / "metrics.json").read_bytes()
    (ready.latest / "evaluate" / "manifest.json").unlink()
    monkeypatch.setattr("pipeline.runner.freshness.code_digest", lambda entries: f"other code {entries}")
    monkeypatch.setattr("pipeline.choose.code_digest", lambda entries: f"other code {entries}")
    monkeypatch.setattr("pipeline.data.splitting.splits.split_rows", None)  # a new preparation would fail
    assert ready.run("evaluate", "--run", run)[0] == 0
    assert json.loads(before)["metrics"] == json.loads((ready.latest / "evaluate" / "metrics.json").read_text())["metrics"]


def test_a_named_run_whose_rows_are_gone_and_come_back_otherwise_is_refused(
    project: Project,
) -> None:
    rows = project.folder / "rows.csv"
    rows.write_text("a,b,y\n" + "".join(f"{n / 7},{n % 5 + n / 9},{['no', 'yes'][n % 2]}\n" for n in range(60)))
    project.run("train", "data={path: rows.csv, target: y}")
    run = project.latest.name
    shutil.rmtree(project.folder / "data")
    rows.write_text(rows.read_text().replace("\n3.0,", "\n3.5,"))
    code, _, err = project.run("evaluate", "--run", run)
    assert code == 2
    assert "was trained on data" in err[0]


def test_training_a_named_run_with_other_settings_is_refused(ready: Project) -> None:
    ready.run("train")
    run = ready.latest.name
    code, _, err = ready.run("train", "--run", run, "train.epochs=9")
    assert code == 2
    assert err == [f"command line: train.epochs: run {run} was made with 3, not 9; leave out --run to make another"]


def test_a_damaged_run_is_a_warning_for_every_other_command(ready: Project) -> None:
    ready.run("train")
    (ready.latest / "run.json").write_bytes(b"\xff\xfe")
    code, _, err = ready.run("train", "seed=5")
    assert code == 0
    assert len(err) == 1
    assert err[0].startswith("warning: ")
    assert "run.json is missing or damaged" in err[0]


def test_train_itself_takes_nothing_from_an_earlier_command(ready: Project) -> None:
    ready.run("train", "train.epochs=2")
    first = ready.latest
    ready.run("train")
    assert ready.latest != first
    ready.run("train", "train.epochs=2")
    assert ready.latest == first, "the same request finds the same run"


def test_a_word_that_disagrees_with_the_newest_run_finds_or_makes_another(project: Project) -> None:
    project.run("train", "seed=1")
    one = project.latest
    project.run("train", "seed=2")
    two = project.latest
    project.run("export", "seed=1")
    assert project.latest == one
    project.run("export", "seed=3")
    assert project.latest not in {one, two}


def test_a_change_in_the_file_trains_anew_and_keeps_the_old_run(ready: Project) -> None:
    ready.run("train")
    first = ready.latest
    file = ready.folder / "quick.yaml"
    file.write_text(file.read_text().replace("epochs: 3", "epochs: 2"))
    ready.run("export")
    assert ready.latest != first
    assert (first / "train" / "best.pt").is_file()


def test_a_changed_key_runs_its_stage_again_in_the_same_run_and_says_which(ready: Project) -> None:
    ready.run("export")
    trained = ready.latest
    _, out, _ = ready.run("export", "export.atol=1e-3")
    assert "export             runs again: export.atol was 0.0001, is 0.001" in out
    assert ready.latest == trained
    assert json.loads((trained / "export" / "bundle" / "golden.json").read_text())["atol"] == 1e-3


def test_what_was_exported_on_request_is_what_a_later_stage_takes(project: Project) -> None:
    project.run("export", "export.bundle=torchscript")
    request = json.loads((project.latest / "run.json").read_text())
    assert request["words"] == {"export.bundle": "torchscript"}
    project.run("evaluate")
    assert json.loads((project.latest / "run.json").read_text())["words"] == {"export.bundle": "torchscript"}


def test_a_named_run_is_used_as_it_is_and_a_contradiction_is_refused(ready: Project) -> None:
    ready.run("train", "train.epochs=2")
    run = ready.latest.name
    ready.run("train")
    file = ready.folder / "quick.yaml"
    file.write_text("data: {source: wine}\n")
    code, out, _ = ready.run("export", "--run", run)
    assert code == 0
    assert ready.latest.name == run
    assert "skipped" in out[1]
    code, _, err = ready.run("export", "--run", run, "train.epochs=9")
    assert code == 2
    assert err == [f"command line: train.epochs: run {run} was made with 2, not 9; leave out --run to make another"]


def test_a_named_run_keeps_its_training_even_when_our_code_changed(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    ready.run("train")
    run = ready.latest.name
    weights = (ready.latest / "train" / "best.pt").read_bytes()
    monkeypatch.setattr("pipeline.runner.freshness.code_digest", lambda entries: f"other code {entries}")
    monkeypatch.setattr("pipeline.choose.code_digest", lambda entries: f"other code {entries}")
    _, out, _ = ready.run("export", "--run", run)
    assert any("kept as the run has it, though its code changed" in line for line in out)
    assert (ready.latest / "train" / "best.pt").read_bytes() == weights
    _, out, _ = ready.run("export")
    assert ready.latest.name != run, "without a name, other code means another run"


def test_a_flipped_byte_in_the_best_checkpoint_is_refused_with_both_digests(ready: Project) -> None:
    ready.run("export")
    file = ready.latest / "train" / "best.pt"
    payload = bytearray(file.read_bytes())
    payload[1000] ^= 1
    file.write_bytes(payload)
    code, _, err = ready.run("export")
    assert code == 2
    assert len(err) == 1
    assert "train/best.pt: the file changed after it was written (sha256 recorded " in err[0]


def test_a_failed_training_leaves_no_run_that_a_later_command_would_take(project: Project) -> None:
    bad = ("train.lr=1e20", "train.optimizer.name=sgd", "data.source=diabetes")
    assert project.run("train", *bad)[0] == 4
    assert not (project.folder / "runs" / "latest").exists()
    assert project.run("export", *bad)[0] == 4


def test_the_journal_tells_the_whole_story(ready: Project) -> None:
    ready.run("evaluate")
    records = [json.loads(line) for line in (ready.latest / "journal.jsonl").read_text().splitlines()]
    events = [(record["stage"], record["values"]["name"]) for record in records if record["kind"] == "event"]
    for stage in ("prepare", "train", "evaluate"):
        assert events.index((stage, "stage_started")) < events.index((stage, "stage_finished"))
    epochs = [record["step"] for record in records if record["kind"] == "metrics" and "val/loss" in record["values"]]
    assert epochs == [1, 2, 3]


def test_a_stage_cannot_read_a_key_that_it_does_not_declare(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def nosy(config: object, *, out: Path, tracker: object) -> None:
        config.train  # type: ignore[attr-defined]  # noqa: B018

    monkeypatch.setattr("pipeline.stages.prepare.run", nosy)
    with pytest.raises(AttributeError, match=r"stage prepare reads config\.train, which its row in STAGES does not declare"):
        project.run("prepare")


def test_the_table_is_in_the_order_in_which_stages_depend_on_each_other() -> None:
    for stage in STAGES:
        assert chain(stage)[-1] is stage
    assert [stage.name for stage in chain(stage_named("serve"))] == [stage.name for stage in STAGES if stage.name != "evaluate"]
    assert [stage.name for stage in chain(stage_named("evaluate"))] == ["prepare", "train", "evaluate"]
