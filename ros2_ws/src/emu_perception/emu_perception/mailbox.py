"""Mailboxes with one slot each: the newest frame of every camera waits, and all get their turn.

A queue would let latency grow while the rate looks fine; here a worker that is too slow sees
fewer frames, always the latest, and of each camera as many as of any other.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailboxes(Generic[T]):
    """Hands the newest item of each key from other threads to one worker."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._changed = threading.Condition()
        self._turns = list(keys)  # whose turn is next comes first
        self._items: dict[str, T] = {}
        self._closed = False

    def put(self, key: str, item: T) -> bool:
        """Leave an item, never blocks; whether one is lost: replaced, or too late."""
        with self._changed:
            if self._closed:
                return True
            loses = key in self._items
            self._items[key] = item
            self._changed.notify()
            return loses

    def get(self) -> tuple[str, T] | None:
        """Wait for an item and take it; None once the mailboxes are closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items)
            if self._closed:
                return None
            key = next(key for key in self._turns if key in self._items)
            self._turns.remove(key)
            self._turns.append(key)
            return key, self._items.pop(key)

    def close(self) -> list[str]:
        """Let waiting and future `get` return None; keys of the items that nobody will get."""
        with self._changed:
            self._closed = True
            left = list(self._items)
            self._items.clear()
            self._changed.notify_all()
            return left
