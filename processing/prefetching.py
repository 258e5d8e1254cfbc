"""Work that is done ahead by threads, such as decoding while a model computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def prefetch(function: Callable[[Any], Any], items: Iterable[Any], workers: int) -> Iterator[Any]:
    """`map(function, items)` with a few items worked on ahead by threads; the order is kept.

    The first exception is raised where its item stands, and what is still waiting is dropped.
    """
    items = iter(items)
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="zsar-decode") as pool:
        waiting: deque[Future] = deque()
        try:
            while True:
                while len(waiting) <= workers:
                    try:
                        waiting.append(pool.submit(function, next(items)))
                    except StopIteration:
                        break
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
