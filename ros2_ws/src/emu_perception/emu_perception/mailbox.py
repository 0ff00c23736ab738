"""A mailbox with one slot: the newest frame wins, and what it replaces is counted.

A queue would let latency grow while the rate looks fine; here a worker that is too slow sees
fewer frames, and always the latest.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Hands the newest item from one thread to another."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._dropped = 0
        self._closed = False

    @property
    def dropped(self) -> int:
        """How many items nobody got: replaced by a newer one, or there or coming at the end."""
        with self._changed:
            return self._dropped

    def put(self, item: T) -> None:
        """Leave an item, in the place of one that waits there; never blocks."""
        with self._changed:
            if self._closed or self._item is not None:
                self._dropped += 1
            if not self._closed:
                self._item = item
                self._changed.notify()

    def get(self) -> T | None:
        """Wait for an item and take it; None once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._item is not None)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Let waiting and future `get` return None; an item that waits counts as dropped."""
        with self._changed:
            self._dropped += self._item is not None
            self._item = None
            self._closed = True
            self._changed.notify_all()
