"""What the columns of a table are: features of which kind, the target, and what is no feature and why.

    columns = infer_columns(table, target="churned", task="auto", columns={"plan": "category"}, leave_out={})
    columns.ignored                      # {"id": "an identifier: another value in every row"}
    encode_target(chunk, columns.target)

Kinds come from all rows, not from a sample; what the config declares wins, where the cells can be that.
"""

from collections.abc import Mapping, Sequence

from pipeline.config.data_sections import ColumnKind, DataTask, Names
from pipeline.data.columns.declared import declared
from pipeline.data.columns.facts import gather
from pipeline.data.columns.kinds import judged
from pipeline.data.columns.targets import encode_target as encode_target  # noqa: PLC0414  # what others take from here
from pipeline.data.columns.targets import has_target as has_target  # noqa: PLC0414
from pipeline.data.columns.targets import infer_target, missing_targets
from pipeline.data.sources.header import unknown
from pipeline.data.table import Column, Columns, Table
from pipeline.errors import DataError


def infer_columns(
    table: Table, *, target: Names, task: DataTask, columns: Mapping[str, ColumnKind], leave_out: Mapping[str, str]
) -> Columns:
    """Return what each column is for.

    columns: declared kinds; a date may say its format, as in "date %m/%d/%Y". leave_out: names that are no features, and why.
    Raises DataError, with a line for each fault, for names that are no columns, for declared kinds that cells do not fit, and
    for a target that nothing can be learned from.
    """
    targets = (target,) if isinstance(target, str) else tuple(target)
    names = table.frame.collect_schema().names()
    _check_known(table, names, targets, columns, leave_out)
    ignored = {name: reason for name, reason in leave_out.items() if name not in targets}
    ignored |= {name: "data.columns says so" for name, kind in columns.items() if kind == "ignore" and name not in targets}
    facts = gather(table, [name for name in names if name not in ignored])
    found = infer_target(table, facts, names=targets, task=task)
    findings = missing_targets(table, facts, found)
    features: list[Column] = []
    faults: list[str] = []
    for name in (name for name in facts if name not in targets):
        try:
            kind = columns.get(name)
            result = judged(table, facts[name]) if kind is None else declared(table, facts[name], kind)
        except DataError as error:
            faults += error.lines
            continue
        findings += result.findings
        if result.column is None:
            ignored[name] = result.reason
        else:
            features.append(result.column)
    if not faults and not features:
        faults = [f"data: {table.origin}: no column is left to learn from; {_reasons(ignored)}"]
    if faults:
        raise DataError(*faults)
    return Columns(tuple(features), found, ignored, tuple(findings))


def _check_known(
    table: Table,
    names: Sequence[str],
    targets: Sequence[str],
    columns: Mapping[str, ColumnKind],
    leave_out: Mapping[str, str],
) -> None:
    lost = {finding.column: finding.text.partition(";")[0] for finding in table.findings if finding.check == "unreadable_type"}
    faults = []
    for key, given in (("data.target", targets), ("data.columns", columns), ("prepare.split_column", leave_out)):
        for name in given:
            if name in lost and key != "data.columns":
                faults.append(f"{table.origin}: {key}: {lost[name]}; name another column")
            elif name not in names and name not in lost:
                faults.append(f"{table.origin}: {key}: {unknown(name, names)}")
    faults += [f"data.target: {name!r} is named {count} times" for name in set(targets) if (count := targets.count(name)) > 1]
    if faults:
        raise DataError(*faults)


def _reasons(ignored: Mapping[str, str]) -> str:
    shown = [f"{name!r}: {reason}" for name, reason in list(ignored.items())[:5]]
    return "; ".join(shown) if shown else "the target is the only column"
