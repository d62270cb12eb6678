"""Free memory is what the tightest limit leaves, on the machine and in containers of both kinds."""

from pathlib import Path

import pytest

from pipeline.training.memory import free_memory_bytes

MIB = 2**20
MEMINFO = f"MemTotal: {8 * 2**20} kB\nMemFree: 100 kB\nMemAvailable: {4096 * 1024} kB\n"
V2 = "31 23 0:28 {shown} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw,nsdelegate\n"
V1 = (
    "30 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "34 30 0:31 {shown} /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "35 30 0:32 {shown} /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
)


def machine(root: Path, *, cgroup: str = "", mountinfo: str = "", meminfo: str = MEMINFO) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(meminfo)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/self/mountinfo").write_text(mountinfo)


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content + "\n")


def group_v2(folder: Path, limit_mib: int | None, used_mib: int, cached_mib: int = 0, high_mib: int | None = None) -> None:
    shown = ["max" if limit is None else str(limit * MIB) for limit in (limit_mib, high_mib)]
    stat = f"anon 5\nfile {cached_mib * MIB}\ninactive_file {cached_mib * MIB - 7}\nactive_file 7"
    group(folder, memory__max=shown[0], memory__high=shown[1], memory__current=str(used_mib * MIB), memory__stat=stat)


def group_v1(folder: Path, limit_mib: int, used_mib: int, cached_mib: int = 0) -> None:
    stat = f"inactive_file 1\ntotal_inactive_file {cached_mib * MIB - 7}\ntotal_active_file 7"
    names = {"memory__limit_in_bytes": str(limit_mib * MIB), "memory__usage_in_bytes": str(used_mib * MIB)}
    group(folder, **names, memory__stat=stat)


def test_without_a_cgroup_it_is_what_the_kernel_calls_available(tmp_path: Path) -> None:
    machine(tmp_path)
    assert free_memory_bytes(tmp_path) == 4096 * MIB


def test_where_the_system_does_not_say_it_is_the_whole_memory(tmp_path: Path) -> None:
    assert free_memory_bytes(tmp_path) >= free_memory_bytes()


def test_the_numbers_of_this_machine_are_plausible() -> None:
    assert 64 * MIB < free_memory_bytes() < 2**50


def test_a_container_of_version_2_leaves_its_limit_less_what_it_uses_and_cached_files_count_as_free(tmp_path: Path) -> None:
    machine(tmp_path, cgroup="0::/\n", mountinfo=V2.format(shown="/"))
    group_v2(tmp_path / "sys/fs/cgroup", 2048, used_mib=1500, cached_mib=400)
    assert free_memory_bytes(tmp_path) == 948 * MIB


@pytest.mark.parametrize(
    ("outer", "inner", "high", "left"), [(1000, 3000, None, 300), (3000, 1000, None, 500), (None, 2000, 900, 400)]
)
def test_the_tightest_of_nested_limits_counts(
    tmp_path: Path, outer: int | None, inner: int | None, high: int | None, left: int
) -> None:
    machine(tmp_path, cgroup="0::/user.slice/job\n", mountinfo=V2.format(shown="/"))
    group_v2(tmp_path / "sys/fs/cgroup/user.slice", outer, used_mib=700)
    group_v2(tmp_path / "sys/fs/cgroup/user.slice/job", inner, used_mib=500, high_mib=high)
    assert free_memory_bytes(tmp_path) == left * MIB


def test_without_limits_the_machine_decides(tmp_path: Path) -> None:
    machine(tmp_path, cgroup="0::/job\n", mountinfo=V2.format(shown="/"))
    group_v2(tmp_path / "sys/fs/cgroup/job", None, used_mib=500)
    assert free_memory_bytes(tmp_path) == 4096 * MIB


@pytest.mark.parametrize("shown", ["/", "/docker/1f"])
def test_a_container_of_version_1_is_found_where_it_sees_itself_and_where_it_sees_all(tmp_path: Path, shown: str) -> None:
    machine(tmp_path, cgroup="5:cpu:/docker/1f\n4:memory:/docker/1f\n0::/\n", mountinfo=V1.format(shown=shown))
    own = "sys/fs/cgroup/memory" if shown != "/" else "sys/fs/cgroup/memory/docker/1f"
    group_v1(tmp_path / own, 1024, used_mib=600, cached_mib=100)
    assert free_memory_bytes(tmp_path) == 524 * MIB


def test_a_group_over_its_limit_has_nothing_left(tmp_path: Path) -> None:
    machine(tmp_path, cgroup="0::/\n", mountinfo=V2.format(shown="/"))
    group_v2(tmp_path / "sys/fs/cgroup", 100, used_mib=120)
    assert free_memory_bytes(tmp_path) == 0
