"""Videos read ahead by threads, each in a given time: one that hangs costs itself and the thread that reads it."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

from hf_zsar.processing.video_sources import VideoReadError


T = TypeVar("T")
V = TypeVar("V")

_END = object()


class _Parts(queue.Queue):
    """Parts of a video on their way; a few stretches may wait for the model."""

    given_up = False

    def __init__(self) -> None:
        super().__init__(maxsize=4)


class ReadAhead(Generic[V, T]):
    """What `read` yields for each video, in order; threads work ahead on the next ones.

    A thread that hangs in a decoder cannot be stopped: it is left behind, another takes its place, and no thread keeps
    the process from ending.

    Args:
        read: what there is of a video, one part after the other.
        workers: threads, so videos that are read at once.
        ahead: videos that may be under way or wait.
        limit: seconds that the next part of a video may take; None: any.
    """

    def __init__(self, read: Callable[[V], Iterable[T]], workers: int, ahead: int, limit: float | None = None) -> None:
        self._read, self._workers, self._ahead, self._limit = read, workers, ahead, limit
        self._todo: queue.SimpleQueue[tuple[V, _Parts] | None] = queue.SimpleQueue()
        self._stopped = threading.Event()

    def __call__(self, videos: Iterable[V]) -> Generator[tuple[V, Iterator[T]], None, None]:
        """Each video and its parts, which are to be taken to the end. Errors of `read` are raised there, and
        [`VideoReadError`] where a part takes too long."""
        waiting: deque[tuple[V, _Parts]] = deque()
        videos = iter(videos)
        for _ in range(self._workers):
            self._start()
        try:
            while True:
                for video in islice(videos, self._ahead - len(waiting)):
                    waiting.append((video, _Parts()))
                    self._todo.put(waiting[-1])
                if not waiting:
                    return
                video, parts = waiting.popleft()
                yield video, self._parts_of(parts)
        finally:
            self._stopped.set()
            for _ in range(self._workers):
                self._todo.put(None)

    def _start(self) -> None:
        threading.Thread(target=self._work, name="zsar-read", daemon=True).start()

    def _work(self) -> None:
        while (task := self._todo.get()) is not None and not self._stopped.is_set():
            video, parts = task
            try:
                for part in self._read(video):
                    if not self._hand_over(parts, part):
                        return
                last: Any = _END
            except Exception as error:  # noqa: BLE001 - raised where the video's turn comes
                last = error
            if not self._hand_over(parts, last):
                return

    def _hand_over(self, parts: _Parts, part: Any) -> bool:
        """False where nobody waits for it any more."""
        while not self._stopped.is_set() and not parts.given_up:
            try:
                parts.put(part, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def _parts_of(self, parts: _Parts) -> Iterator[T]:
        while True:
            try:
                part = parts.get(timeout=self._limit)
            except queue.Empty:
                parts.given_up = True
                self._start()
                raise VideoReadError(f"reading takes longer than {self._limit:g} seconds.") from None
            if part is _END:
                return
            if isinstance(part, Exception):
                raise part
            yield part
