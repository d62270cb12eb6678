"""The policy: the winner meets every budget; what is missing, not finite, failed or unstable is rejected, with its reason."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.choice_sections import SelectConfig
from pipeline.measuring.policy import Verdict, decide
from pipeline.measuring.refusing import refusal_lines
from pipeline.measuring.rows import ClassRecall, Latency, Row, Throughput
from pipeline.measuring.unmade import unmade
from tests.measuring.drawn_rows import CLASSES, policies, row, rows, tables

POLICY = SelectConfig()


def verdict(one: Row, **policy: Any) -> Verdict:
    """Judge one row alone."""
    return decide([one], CLASSES, SelectConfig(**policy)).candidates[0]


def codes(one: Row, **policy: Any) -> list[str]:
    return [reason.code for reason in verdict(one, **policy).reasons]


def replaced(**changes: Any) -> Row:
    return msgspec.structs.replace(row(), **changes)


def test_what_was_proven_to_be_the_same_function_needs_no_statistics_for_what_it_loses() -> None:
    few_rows = row(bound=0.06)
    assert codes(few_rows) == ["drop_above_budget"]
    assert codes(msgspec.structs.replace(few_rows, proven=True)) == []
    assert few_rows.drop is not None
    worse = msgspec.structs.replace(few_rows, proven=True, drop=msgspec.structs.replace(few_rows.drop, drop=0.03))
    assert codes(worse) == ["drop_above_budget"], "what was measured counts all the same"


def test_what_an_error_may_rise_by_is_a_share_of_it() -> None:
    some = row().drop
    assert some is not None
    drop = msgspec.structs.replace(some, metric="rmse", before=50.0, value=50.4, drop=0.4, bound=0.9)
    assert codes(replaced(drop=drop)) == []
    assert codes(replaced(drop=msgspec.structs.replace(drop, bound=1.1))) == ["drop_above_budget"]


def test_one_of_several_values_that_got_worse_is_not_hidden_by_the_mean() -> None:
    some = row().drop
    assert some is not None
    outputs = [
        msgspec.structs.replace(some, metric=name, before=before, value=before, drop=0.0, bound=bound)
        for name, before, bound in (("rmse.{price}", 1e6, 10.0), ("rmse.ratio", 0.23, 0.09))
    ]
    (reason,) = verdict(replaced(outputs=outputs)).reasons
    assert reason.code == "output_lost"
    assert reason.text == "rmse.ratio rises by up to 0.3913 of what it was; select.max_drop allows 0.02"


def test_classes_and_values_may_be_called_anything() -> None:
    odd = [msgspec.structs.replace(one, label="{a}" if one.label == "cat" else one.label) for one in lost_class().classes]
    found = decide([replaced(classes=odd)], ("{a}", "dog"), POLICY).candidates[0]
    assert [reason.code for reason in found.reasons] == ["class_lost"]
    assert "class '{a}'" in found.reasons[0].text


def test_a_machine_that_slows_down_does_not_choose() -> None:
    before = row("before.onnx", p50=1.0)  # done in the first rounds, four times faster than the baseline
    after = row("after.onnx", p50=1.6)  # done when all took twice as long, five times faster than the baseline
    rows = [
        msgspec.structs.replace(one, latency=msgspec.structs.replace(one.latency, times_faster=ratio))
        for one, ratio in ((before, 4.0), (after, 5.0))
    ]
    decision = decide(rows, CLASSES, POLICY)
    assert decision.winner == "after.onnx"
    (why,) = decision.candidates[0].reasons
    assert why.text == (
        "latency_p50 is 1 ms, 4 times faster than eager; that of after.onnx is 1.6 ms, 5 times faster than eager"
    )


def rates(*found: tuple[int, float, float, float]) -> list[Throughput]:
    """Return throughput of (batch size, rows/s, times the baseline, the baseline's rows/s)."""
    return [
        Throughput(batch_size=size, rows_per_s=rate, times_faster=ratio, baseline_rows_per_s=baseline, unstable=False)
        for size, rate, ratio, baseline in found
    ]


def test_rows_in_a_second_are_ranked_beside_the_baseline_of_the_same_rounds() -> None:
    early = replaced(file="early.onnx", throughput=rates((32, 9000.0, 4.0, 2000.0)))  # done before all took longer
    late = replaced(file="late.onnx", throughput=rates((32, 7000.0, 5.0, 2000.0)))
    decision = decide([early, late], CLASSES, SelectConfig(objective="throughput"))
    assert decision.winner == "late.onnx"
    (why,) = decision.candidates[0].reasons
    assert (why.code, why.value, why.limit) == ("slower_than_best", 8000.0, 10000.0)


def test_a_ratio_at_a_small_batch_is_not_taken_for_rows_in_a_second() -> None:
    small = replaced(file="small.onnx", throughput=rates((1, 1000.0, 10.0, 100.0)))
    large = replaced(file="large.onnx", throughput=rates((1, 900.0, 9.0, 100.0), (128, 4000.0, 2.0, 2000.0)))
    assert decide([small, large], CLASSES, SelectConfig(objective="throughput", tie=0.0)).winner == "large.onnx"


def test_a_rate_without_its_ratio_wins_nothing() -> None:
    alone = replaced(throughput=[Throughput(batch_size=32, rows_per_s=9e9, unstable=False)])
    assert codes(alone, objective="throughput") == ["missing_throughput"]


STORY = """{"arithmetic": {}, "artifacts": [
    {"file": "kept-int8.onnx", "weights": "trained", "accepted": true, "reason": null, "max_drop": 0.01, "search": null},
    {"file": "a-int8.onnx", "weights": "trained", "accepted": false, "reason": "too much", "max_drop": 0.01,
     "search": {"reason": "too much", "steps": [{"verdict": {"metric": 0.9, "drop": 0.08}}]}},
    {"file": "a-int8.onnx", "weights": "qat", "accepted": false, "reason": "still too much", "max_drop": 0.01,
     "search": {"reason": "still too much", "steps": [
        {"verdict": {"metric": 0.9, "drop": 0.08}}, {"verdict": {"metric": 0.95, "drop": 0.03}}]}},
    {"file": "b-int8.onnx", "weights": "trained", "accepted": false, "reason": "rows beside it", "max_drop": 0.01,
     "search": {"reason": null, "steps": [{"verdict": {"metric": 0.98, "drop": null}}]}},
    {"file": "c-int8.onnx", "weights": "trained", "accepted": false, "reason": "no layer", "max_drop": 0.01, "search": null}
]}"""


def test_what_quantize_rejected_stands_in_the_decision_with_its_last_reason() -> None:
    gone = unmade(STORY.encode(), ["kept-int8.onnx"])
    decision = decide([row()], CLASSES, POLICY, gone=gone)
    assert decision.winner == "a.onnx"
    assert [one.file for one in decision.candidates] == ["a.onnx", "a-int8.onnx", "b-int8.onnx", "c-int8.onnx"]
    first, *rest = decision.candidates[1:]
    (reason,) = first.reasons
    assert (first.accepted, first.metric, reason.code, reason.value, reason.limit) == (
        False,
        0.95,
        "rejected_by_quantize",
        0.03,
        0.01,
    )
    assert reason.text == "quantize made it of qat weights and rejected it: still too much"
    assert [(one.reasons[0].value, one.reasons[0].text.rpartition(": ")[2]) for one in rest] == [
        (None, "rows beside it"),
        (None, "no layer"),
    ]


def test_a_refusal_has_a_line_for_what_quantize_rejected() -> None:
    table = [row(p95=4.0)]
    policy = SelectConfig(max_p95_ms=1.0)
    lines = refusal_lines(decide(table, CLASSES, policy, gone=unmade(STORY.encode(), ["kept-int8.onnx"])), table, policy)
    assert lines[0].startswith("select: none of 4 artifacts fits the budgets; nearest is a.onnx: p95 at batch 1 is 4 ms")
    assert lines[-1] == "c-int8.onnx: quantize made it of trained weights and rejected it: no layer"


def lost_class() -> Row:
    """The average is fine; one class lost a fifth of its recall."""
    return row(recalls=(0.78, 0.99))


@pytest.mark.parametrize(
    ("broken", "code", "policy"),
    [
        (replaced(latency=Latency(unstable=False)), "missing_latency", {}),
        (replaced(latency=msgspec.structs.replace(row().latency, unstable=True)), "unstable", {}),
        (replaced(latency=msgspec.structs.replace(row().latency, p50_ms=math.nan)), "not_finite_latency", {}),
        (replaced(metric=math.nan), "not_finite_metric", {}),
        (replaced(metric=None, nonfinite_rows=4), "not_finite_metric", {}),
        (replaced(metric=None), "missing_metric", {}),
        (replaced(drop=None), "missing_drop", {}),
        (row(bound=0.03), "drop_above_budget", {}),
        (row(bound=0.01), "relative_drop_above_budget", {"max_drop_relative": 0.01}),
        (lost_class(), "class_lost", {}),
        (replaced(classes=[]), "missing_class", {}),
        (row(recalls=(0.9, 0.99)), "class_below_floor", {"min_class_recall": 0.95}),
        (row(p95=2.0), "p95_above_budget", {"max_p95_ms": 1.9}),
        (row(size=2001), "bytes_above_budget", {"max_bytes": 2000}),
        (row(memory=60_000_000), "memory_above_budget", {"max_memory_mb": 50.0}),
        (replaced(failed="the process was killed by SIGKILL"), "failed", {}),
        (replaced(format="torch_export"), "not_deployable", {}),
        (replaced(throughput=[]), "missing_throughput", {"objective": "throughput"}),
        (replaced(bytes=None), "missing_bytes", {"objective": "bytes"}),
        (row(size=0), "impossible_bytes", {"objective": "bytes"}),
    ],
)
def test_each_fault_rejects_with_its_own_reason_where_a_whole_row_is_accepted(
    broken: Row, code: str, policy: dict[str, Any]
) -> None:
    whole = {"max_p95_ms": 2.0} if code == "p95_above_budget" else policy
    assert verdict(row(bound=0.0), **whole | {"min_class_recall": None}).accepted
    assert code in codes(broken, **policy)
    assert not verdict(broken, **policy).accepted


def test_a_reason_has_the_value_the_limit_and_a_sentence_with_both() -> None:
    (reason,) = verdict(lost_class()).reasons
    assert reason.value == pytest.approx(0.2)
    assert reason.limit == 0.1
    assert reason.text == "class 'cat', 40 rows, loses 0.2 of its recall; select.max_class_drop allows 0.1"


def test_a_class_of_few_rows_may_lose_what_chance_gives_but_not_fall_below_the_floor() -> None:
    few = replaced(classes=[ClassRecall(label=label, support=9, recall=0.5, recall_before=0.9) for label in CLASSES])
    assert codes(few) == []
    assert codes(few, min_class_recall=0.6) == ["class_below_floor", "class_below_floor"]


def test_instability_rejects_only_where_the_number_is_needed() -> None:
    shaky = replaced(latency=msgspec.structs.replace(row().latency, unstable=True))
    assert codes(shaky, objective="bytes") == []
    assert codes(shaky, objective="bytes", max_p95_ms=5.0) == ["unstable"]
    shaky = replaced(throughput=[msgspec.structs.replace(row().throughput[0], unstable=True)])
    assert codes(shaky, objective="throughput") == ["unstable"]
    assert codes(shaky) == []


def test_among_those_as_good_as_the_best_the_better_metric_wins_and_beyond_that_the_objective() -> None:
    fast, near, far = row("fast", p50=1.0, metric=0.97), row("near", p50=1.04, metric=0.98), row("far", p50=1.2, metric=0.99)
    decision = decide([far, fast, near], CLASSES, POLICY)
    assert decision.ranking == ["near", "fast", "far"]
    reasons = {one.file: [reason.code for reason in one.reasons] for one in decision.candidates}
    assert reasons == {"near": [], "fast": ["tied_with_worse_metric"], "far": ["slower_than_best"]}
    assert decide([far, fast, near], CLASSES, SelectConfig(tie=0.0)).winner == "fast"


def test_of_errors_the_smaller_one_is_the_better_metric() -> None:
    def regression(file: str, metric: float) -> Row:
        whole = row(file, metric=metric)
        assert whole.drop is not None
        return msgspec.structs.replace(whole, drop=msgspec.structs.replace(whole.drop, metric="rmse"), classes=[])

    assert decide([regression("large", 3.0), regression("small", 2.0)], (), POLICY).winner == "small"


@pytest.mark.parametrize("objective", ["throughput", "bytes", "memory", "latency_p95"])
def test_every_objective_finds_its_best(objective: Any) -> None:
    best = row("best", rate=9e4, size=10, memory=10, p95=0.1)
    assert decide([row("other"), best], CLASSES, SelectConfig(objective=objective)).winner == "best"


@given(tables(), policies())
def test_the_winner_meets_every_budget_and_nobody_who_fits_beats_it_by_more_than_the_tie(
    table: list[Row], policy: SelectConfig
) -> None:
    decision = decide(table, CLASSES, policy)
    assert (decision.winner is not None) == any(one.accepted for one in decision.candidates)
    if decision.winner is None:
        assert all(one.reasons for one in decision.candidates)
        assert len(refusal_lines(decision, table, policy)) <= 12
        return
    by_file = {one.file: one for one in table}
    won = by_file[decision.winner]
    assert won.failed is None
    assert won.format != "torch_export"
    assert won.metric is not None
    assert math.isfinite(won.metric)
    assert won.drop is not None
    assert policy.max_drop is None or won.drop.bound <= policy.max_drop + 1e-9
    assert policy.max_drop_relative is None or won.drop.bound / won.drop.before <= policy.max_drop_relative + 1e-9
    assert policy.max_bytes is None or (won.bytes is not None and won.bytes <= policy.max_bytes)
    assert policy.max_p95_ms is None or (won.latency.p95_ms or math.inf) <= policy.max_p95_ms + 1e-9
    assert policy.max_memory_mb is None or (won.memory.peak_bytes or math.inf) / 1e6 <= policy.max_memory_mb + 1e-9
    for one in won.classes:
        assert policy.min_class_recall is None or (one.recall or 0.0) >= policy.min_class_recall - 1e-9
        many = (one.support or 0) >= 10
        assert policy.max_class_drop is None or not many or (one.drop is not None and one.drop <= policy.max_class_drop + 1e-9)
    objectives = [one.objective for one in decision.candidates if one.accepted]
    mine = next(one.objective for one in decision.candidates if one.file == decision.winner)
    assert mine is not None
    for other in objectives:
        assert other is not None
        if policy.objective == "throughput":
            assert mine >= other * (1 - policy.tie) * (1 - 1e-9)
        else:
            assert mine <= other * (1 + policy.tie) * (1 + 1e-9)


NUMBERS = ("bytes", "metric", "drop", "classes", "throughput", "latency", "memory")


def without(one: Row, names: set[str]) -> Row:
    """Take numbers away, one kind after the other."""
    empty = Row(file=one.file, variant="", format=one.format, precision="", sha256="", bytes=None, threads=1)
    return msgspec.structs.replace(one, **{name: getattr(empty, name) for name in names})


@given(rows(), policies(), st.sets(st.sampled_from(NUMBERS), min_size=1))
def test_taking_numbers_away_never_makes_a_candidate_accepted(one: Row, policy: SelectConfig, gone: set[str]) -> None:
    before, after = (decide([each], CLASSES, policy).winner for each in (one, without(one, gone)))
    assert after is None or before is not None


@given(policies(), st.sets(st.sampled_from(NUMBERS), min_size=1))
def test_a_number_that_the_policy_needs_rejects_when_it_is_gone(policy: SelectConfig, gone: set[str]) -> None:
    needed = {
        "metric",
        "drop",
        {"bytes": "bytes", "memory": "memory", "throughput": "throughput"}.get(policy.objective, "latency"),
    }
    needed |= {"bytes"} if policy.max_bytes is not None else set()
    needed |= {"latency"} if policy.max_p95_ms is not None else set()
    needed |= {"memory"} if policy.max_memory_mb is not None else set()
    needed |= {"classes"} if policy.max_class_drop is not None or policy.min_class_recall is not None else set()
    fits = row(p50=0.01, p95=0.02, size=1, memory=1, bound=0.0, recalls=(1.0, 1.0))
    assert decide([fits], CLASSES, policy).winner == fits.file
    assert (decide([without(fits, gone)], CLASSES, policy).winner is None) == bool(gone & needed)


def test_a_refusal_names_the_nearest_miss_by_how_much_and_everyone_with_a_reason() -> None:
    table = [row("far", p95=4.0), row("near", p95=1.1), replaced(file="gone", failed="it died")]
    policy = SelectConfig(max_p95_ms=1.0)
    lines = refusal_lines(decide(table, CLASSES, policy), table, policy)
    assert lines[0].startswith(
        "select: none of 3 artifacts fits the budgets; nearest is near: p95 at batch 1 is 1.1 ms; select.max_p95_ms allows 1 "
        "(missed by 10.0% of the limit)"
    )
    assert [line.partition(":")[0] for line in lines[1:]] == ["far", "near", "gone"]


def test_a_budget_that_so_few_rows_cannot_prove_is_called_one() -> None:
    table = [row(bound=0.0041)]
    policy = SelectConfig(max_drop=0.004)
    lines = refusal_lines(decide(table, CLASSES, policy), table, policy)
    assert "even the same answers on 400 validation rows could hide a drop of 0.00409" in lines[1]
    many = [row(str(index), bound=0.1) for index in range(40)]
    lines = refusal_lines(decide(many, CLASSES, policy), many, policy)
    assert len(lines) == 12
    assert lines[-1] == "and 31 more, in decision.json"
