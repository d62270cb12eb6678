"""CPUs that a container really has, and no more threads than those."""

import os
from pathlib import Path

import pytest

from serving.planning import refuse_oversubscription, usable_cpus

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "max 100000"}, HERE),
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "6400000 100000"}, HERE),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, HERE),
        ({"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({}, HERE),
        ({"cpu.max": "nonsense"}, HERE),
    ],
    ids=[
        "no limit",
        "one CPU",
        "half a CPU",
        "more than there are",
        "v1 no limit",
        "v1 one and a half",
        "no cgroup",
        "nonsense",
    ],
)
def test_a_quota_of_the_cgroup_counts(tmp_path: Path, files: dict[str, str], cpus: int) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert usable_cpus(tmp_path) == cpus


def test_more_threads_than_cpus_are_refused_with_the_numbers() -> None:
    refuse_oversubscription(2, 2, 4)
    with pytest.raises(ValueError, match=r"--workers 2 x --threads 4 = 8 threads that compute, for 4 CPU\(s\)"):
        refuse_oversubscription(2, 4, 4)
