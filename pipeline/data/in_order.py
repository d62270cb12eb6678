"""Work on the chunks of a large source in a few threads, with the same result as in one: what comes out is in order.

for total in in_order(summed, table.chunks(names)):     # NumPy and polars let other threads run meanwhile
    ...
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from pipeline.cores import usable_cores

_MOST = 4  # threads; each has a chunk in memory, and the disk is busy with fewer
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Yield `work` of each item, in the items' order; the error of the first item that fails is raised in its turn.

    Items are taken in the caller's thread, one more ahead than there are threads, so that memory is bounded.
    """
    count = threads()
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(count, thread_name_prefix="in_order") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def threads() -> int:
    """Return how many threads work: one for each core that this process may use, four at most."""
    return min(_MOST, usable_cores())
