"""Rows from disk: each once an epoch, in an order that a resume finds again, in bounded memory, and no thread stays behind."""

import os
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.errors import UserError
from pipeline.training.batches import Batches, InMemory
from pipeline.training.streaming import StreamedBatches
from pipeline.training.windows import EpochOrder, Layout

ROW_BYTES = 12  # of rows of three float32
CPU = torch.device("cpu")


def same(rows: Tensor) -> Tensor:
    return rows


def stored(folder: Path, rows: int) -> tuple[Any, Any]:
    """Write `rows` rows (row, 1000 + row, -row) with target `row`, and map them."""
    numbers = np.arange(rows)
    np.save(folder / "inputs.npy", np.stack([numbers, 1000 + numbers, -numbers], axis=1).astype(np.float32))
    np.save(folder / "targets.npy", numbers)
    return np.load(folder / "inputs.npy", mmap_mode="r"), np.load(folder / "targets.npy", mmap_mode="r")


def streamed(folder: Path, rows: int, batch_size: int = 8, **options: Any) -> StreamedBatches:
    """Store rows and return batches over them."""
    return over(*stored(folder, rows), batch_size, **options)


def over(inputs: Any, targets: Any, batch_size: int, *, block: int = 4, blocks: int = 6, **options: Any) -> StreamedBatches:
    """Return batches in blocks of `block` rows and windows of `blocks` blocks."""
    sizes = {"block_bytes": block * ROW_BYTES, "window_bytes": blocks * block * ROW_BYTES}
    defaults: dict[str, Any] = {"device": CPU, "transform": same}
    return StreamedBatches(inputs, targets, batch_size, **defaults | sizes | options)


@pytest.mark.parametrize("outputs", [1, 3])
def test_targets_of_several_outputs_stay_with_their_rows(tmp_path: Path, outputs: int) -> None:
    inputs, _ = stored(tmp_path, 101)
    np.save(tmp_path / "targets.npy", np.array(inputs[:, :1]) * 10 + np.arange(outputs, dtype=np.float32))
    batches = over(inputs, np.load(tmp_path / "targets.npy", mmap_mode="r"), 8)
    for visit in (batches.in_order(), batches.shuffled(seed=0, epoch=1)):
        pairs = list(visit)
        assert {targets.shape[1:] for _, targets in pairs} == {(outputs,)}
        assert sorted(int(row) for rows, _ in pairs for row in rows[:, 0]) == list(range(101))
        for rows, targets in pairs:
            assert torch.equal(targets, rows[:, :1] * 10 + torch.arange(outputs))


layouts = st.builds(Layout, rows=st.integers(1, 300), block_rows=st.integers(1, 20), window_blocks=st.integers(1, 9))


@given(layouts, st.integers(0, 2**31), st.integers(1, 1000), st.data())
def test_a_visit_sees_every_row_once_and_may_begin_anywhere(layout: Layout, seed: int, epoch: int, data: st.DataObject) -> None:
    order = EpochOrder(layout, seed=seed, epoch=epoch)
    windows = [window.row_numbers().tolist() for window in order.visit(0)]
    rows = list(chain(*windows))
    assert sorted(rows) == list(range(layout.rows))
    assert max(map(len, windows)) <= layout.block_rows * layout.window_blocks
    position = data.draw(st.integers(0, layout.rows - 1))
    rest = [window.row_numbers().tolist() for window in order.visit(position)]
    assert list(chain(*rest)) == rows[position:]
    assert rest[1:] == windows[len(windows) - len(rest) + 1 :]  # windows that are done are not asked for


@given(
    rows=st.integers(1, 200),
    batch_size=st.integers(1, 50),
    block=st.integers(1, 20),
    blocks=st.integers(1, 9),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_streamed_batches_keep_the_promises_of_batches_in_memory(
    rows: int, batch_size: int, block: int, blocks: int, seed: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        inputs, targets = stored(Path(name), rows)
        disk = over(inputs, targets, batch_size, block=block, blocks=blocks)
        memory = InMemory(torch.tensor(inputs), torch.tensor(targets), batch_size)
        on_disk, in_memory = (check_batches(batches, seed) for batches in (disk, memory))
        skip = data.draw(st.integers(0, len(disk) + 1))
        tail = [targets.tolist() for _, targets in disk.shuffled(seed=seed, epoch=2, skip=skip)]
    assert [len(batch) for batch in on_disk] == [len(batch) for batch in in_memory]
    assert sorted(chain(*on_disk)) == sorted(chain(*in_memory)) == list(range(rows))
    assert tail == on_disk[skip:]


def check_batches(batches: Batches, seed: int) -> list[list[int]]:
    """Return the row numbers of an epoch's batches, checked against everything else that the protocol says about them."""
    found = list(batches.shuffled(seed=seed, epoch=2))
    assert len(found) == len(batches)
    for index, (inputs, targets) in enumerate(found):
        assert torch.equal(inputs, torch.stack([targets, 1000 + targets, -targets], dim=1).float())
        assert torch.equal(targets, batches.rows_of(seed=seed, epoch=2, batch=index).cpu())
    in_order = list(batches.in_order())
    assert [len(targets) for _, targets in in_order] == [len(targets) for _, targets in found]
    assert torch.equal(torch.cat([targets for _, targets in in_order]), torch.arange(batches.rows))
    return [targets.tolist() for _, targets in found]


def order_of(batches: Batches, *, seed: int, epoch: int) -> list[int]:
    return [int(row) for _, targets in batches.shuffled(seed=seed, epoch=epoch) for row in targets]


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone(tmp_path: Path) -> None:
    maps = stored(tmp_path, 500)
    batches, again = over(*maps, 8), over(*maps, 8)
    torch.manual_seed(1)
    first = order_of(batches, seed=0, epoch=3)
    torch.manual_seed(2)
    assert first == order_of(again, seed=0, epoch=3)
    others = [order_of(batches, seed=seed, epoch=epoch) for seed, epoch in ((0, 4), (1, 3), (3, 0), (1, 2))]
    assert len({tuple(order) for order in [first, *others]}) == 5


def test_a_row_has_the_same_bits_however_it_is_reached(tmp_path: Path) -> None:
    shift, scale = torch.tensor([3.3, 1e3, 0.1]), torch.tensor([0.7, 1e-3, 3.0])
    batches = streamed(tmp_path, 5000, block=50, blocks=20, transform=lambda rows: (rows - shift) / scale)
    stored_order = torch.cat([inputs for inputs, _ in batches.in_order()])
    whole = (torch.from_numpy(np.load(tmp_path / "inputs.npy")) - shift) / scale
    assert torch.equal(stored_order, whole)
    for epoch, skip in ((1, 0), (2, 311)):
        for inputs, targets in batches.shuffled(seed=0, epoch=epoch, skip=skip):
            assert torch.equal(inputs, whole[targets])


def test_a_file_sorted_by_class_gives_batches_of_mixed_classes() -> None:
    layout = Layout.of(2_000_000, 80)
    windows = list(EpochOrder(layout, seed=0, epoch=1).visit(0))
    assert len(windows) == 5
    for window in windows:
        late = window.row_numbers() >= 1_000_000  # the second class
        batches = late[: len(late) // 256 * 256].reshape(-1, 256).mean(axis=1)
        assert abs(late.mean() - 0.5) < 5 * 0.5 / 244**0.5  # blocks in a window
        assert batches.std() < 0.04  # 0.031 after a full shuffle, 0.5 without one
        assert 0.25 < batches.min() < batches.max() < 0.75


def test_rows_as_large_as_a_block_are_shuffled_in_full() -> None:
    layout = Layout.of(100, 10_000_000)
    assert (layout.block_rows, layout.window_blocks) == (1, 3)
    numbers = np.concatenate([window.row_numbers() for window in EpochOrder(layout, seed=0, epoch=1).visit(0)])
    assert sorted(numbers) == list(range(100))
    assert np.abs(np.diff(numbers)).mean() > 20  # 33 after a full shuffle


def test_the_order_of_billions_of_rows_is_found_without_listing_them() -> None:
    layout = Layout.of(5_000_000_000, 80)
    window = next(EpochOrder(layout, seed=0, epoch=1).visit(4_999_000_000))
    assert len(window.row_numbers()) < layout.block_rows * layout.window_blocks
    assert 0 <= window.row_numbers().min() < window.row_numbers().max() < layout.rows


@pytest.mark.skipif(not Path("/proc/self/io").is_file(), reason="Linux counts what a process reads")
def test_skipped_windows_are_not_read(tmp_path: Path) -> None:
    batches = streamed(tmp_path, 960, batch_size=24)  # 40 windows of 24 rows
    reads = bytes_read()
    tail = [targets for _, targets in batches.shuffled(seed=0, epoch=1, skip=37)]
    assert bytes_read() - reads < 4 * 24 * (ROW_BYTES + 8)  # three windows, and not forty
    assert len(torch.cat(tail)) == 72
    assert torch.equal(tail[0], batches.rows_of(seed=0, epoch=1, batch=37))


def bytes_read() -> int:
    """Return how many bytes this process has read from files."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rows")]


@pytest.mark.parametrize("ending", ["end", "close", "break", "raise"])
def test_no_thread_is_left_however_an_iterator_ends(tmp_path: Path, ending: str) -> None:
    batches = streamed(tmp_path, 960)
    iterator: Any = batches.shuffled(seed=0, epoch=1)
    next(iterator)
    assert threads()
    if ending == "end":
        list(iterator)
    elif ending == "close":
        iterator.close()
    elif ending == "break":
        for _ in iterator:
            break
        del iterator
    else:
        with pytest.raises(ZeroDivisionError):
            fail_in(iterator)
        del iterator
    assert threads() == []


def fail_in(batches: Any) -> None:
    for _ in batches:
        raise ZeroDivisionError


def test_an_iterator_that_nobody_ends_does_not_keep_the_process_alive(tmp_path: Path) -> None:
    stored(tmp_path, 1000)
    finished = subprocess.run(
        [sys.executable, "-c", ABANDON, str(tmp_path)], timeout=60, capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (7, "8\n", "")


ABANDON = textwrap.dedent("""
    import sys, numpy as np, torch
    from pipeline.training.streaming import StreamedBatches
    maps = [np.load(f"{sys.argv[1]}/{name}.npy", mmap_mode="r") for name in ("inputs", "targets")]
    rows = StreamedBatches(*maps, 8, device=torch.device("cpu"), transform=lambda rows: rows, block_bytes=48, window_bytes=96)
    iterator = rows.shuffled(seed=0, epoch=1)
    print(len(next(iterator)[1]))
    sys.exit(7)
""")


def test_what_goes_wrong_in_the_thread_is_raised_by_the_iterator(tmp_path: Path) -> None:
    calls: list[int] = []

    def breaks(rows: Tensor) -> Tensor:
        calls.append(len(rows))
        if len(calls) == 3:
            raise FloatingPointError("third window")
        return rows

    seen = []
    with pytest.raises(FloatingPointError, match="third window"):
        for _, targets in streamed(tmp_path, 960, batch_size=24, transform=breaks).shuffled(seed=0, epoch=1):
            seen.append(len(targets))
    assert seen == [24, 24]
    assert threads() == []


def test_the_transform_runs_without_gradients_and_leaves_them_on_for_training(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    enabled = []
    for inputs, _ in streamed(tmp_path, 100, transform=lambda rows: rows * weight).shuffled(seed=0, epoch=1):
        assert not inputs.requires_grad
        enabled.append(torch.is_grad_enabled())
    assert enabled == [True] * 13


def shorter(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def rewritten(path: Path) -> None:
    payload = path.read_bytes()
    path.unlink()
    path.write_bytes(payload[:-4] + b"\0\0\0\0")


@pytest.mark.parametrize("change", [shorter, rewritten])
def test_a_file_that_changes_between_epochs_ends_training_with_its_name(tmp_path: Path, change: Callable[[Path], None]) -> None:
    batches = streamed(tmp_path, 960)
    list(batches.shuffled(seed=0, epoch=1))
    change(tmp_path / "inputs.npy")
    with pytest.raises(UserError, match=r"inputs\.npy: the file changed while training read it .*run prepare again"):
        next(batches.shuffled(seed=0, epoch=2))


def test_a_file_that_is_cut_off_in_the_middle_of_an_epoch_ends_training_with_its_name(tmp_path: Path) -> None:
    batches = streamed(tmp_path, 960).in_order()
    next(batches)
    os.truncate(tmp_path / "inputs.npy", 5000)
    with pytest.raises(UserError, match=r"inputs\.npy: .* ends at byte 5000"):
        list(batches)


def test_a_part_of_a_map_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    inputs, targets = stored(tmp_path, 100)
    with pytest.raises(AssertionError):
        StreamedBatches(inputs[10:], targets[10:], 8, device=CPU, transform=same)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_on_a_gpu_are_those_on_the_cpu(tmp_path: Path) -> None:
    cpu, gpu = (streamed(tmp_path, 5000, block=50, device=torch.device(kind)) for kind in ("cpu", "cuda"))
    for (inputs, targets), (there, labels) in zip(cpu.shuffled(seed=0, epoch=1), gpu.shuffled(seed=0, epoch=1), strict=True):
        assert there.is_cuda
        assert torch.equal(inputs, there.cpu())
        assert torch.equal(targets, labels.cpu())


EPOCH = textwrap.dedent("""
    import sys, numpy as np, torch
    from pathlib import Path
    from pipeline.training.streaming import StreamedBatches

    def peak():
        return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmHWM")) // 1024

    def shifted(rows):
        return rows - 1.0

    torch.set_num_threads(1)
    maps = [np.load(f"{sys.argv[1]}/{name}.npy", mmap_mode="r") for name in ("inputs", "targets")]
    rows = StreamedBatches(*maps, 256, device=torch.device("cpu"), transform=shifted)
    before = peak()
    for epoch in (1, 2):
        assert sum(len(targets) for _, targets in rows.shuffled(seed=0, epoch=epoch)) == rows.rows
    assert sum(len(targets) for _, targets in rows.in_order()) == rows.rows
    print(peak() - before)
""")


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux tells the peak of resident memory")
def test_three_passes_over_a_large_file_take_the_memory_of_a_few_windows(tmp_path: Path) -> None:
    chunk = np.random.default_rng(0).standard_normal((200_000, 20), dtype=np.float32)
    with (tmp_path / "inputs.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (4_000_000, 20)})
        for _ in range(20):
            chunk.tofile(file)
    np.save(tmp_path / "targets.npy", np.zeros(4_000_000, np.float32))
    assert (tmp_path / "inputs.npy").stat().st_size == 320_000_128
    finished = subprocess.run(
        [sys.executable, "-c", EPOCH, str(tmp_path)], timeout=120, capture_output=True, text=True, check=True
    )
    assert int(finished.stdout) < 200  # MiB; three windows of 36, and what the allocator keeps
