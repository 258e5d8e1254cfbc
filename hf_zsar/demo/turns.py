"""Who asked last: each page has one question at a time, and a newer one ends the older."""

from __future__ import annotations

import threading
from collections import OrderedDict


MOST_VISITORS = 10_000


class Turns:
    """The newest ticket of every visitor. A page numbers its questions 1, 2, 3... and what ends them alike."""

    def __init__(self) -> None:
        self._newest: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, visitor: str, ticket: float) -> None:
        """Everything older than `ticket` is over."""
        with self._lock:
            self._newest[visitor] = max(ticket, self._newest.get(visitor, ticket))
            self._newest.move_to_end(visitor)
            if len(self._newest) > MOST_VISITORS:
                self._newest.popitem(last=False)

    def leave(self, visitor: str) -> None:
        """The visitor has closed the page: all of theirs is over."""
        self.take(visitor, float("inf"))

    def wants(self, visitor: str, ticket: float) -> bool:
        """Whether the visitor still waits for the answer to `ticket`."""
        with self._lock:
            return self._newest.get(visitor, ticket) <= ticket
