"""Mailboxes with one slot each: the newest frame of every camera waits, and all get their turn.

A queue would let latency grow while the rate looks fine; here a worker that is too slow sees
fewer frames, always the latest, and of each camera as many as of any other.
"""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from emu_perception.node.camera import Responder
from emu_perception.node.statistics import Health

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


EARLY = 0.1
"""Part of a period that a frame may come early: a camera's own jitter must cost nothing."""


class RateLimit:
    """Admits at most so many frames per second, on average, and evenly."""

    def __init__(self) -> None:
        self._last = -math.inf

    def admits(self, now: float, rate: float) -> bool:
        """Whether a frame that comes now (monotonic seconds) is taken; rate 0: always."""
        if rate <= 0:
            return True
        period = 1 / rate
        due = self._last + period
        if now < due - EARLY * period:
            return False
        # A frame that comes a little late does not put off the next, and a pause earns no burst.
        self._last = due if now - due < period else now
        return True


class Worker:
    """Gives each camera's newest image to its responder; nothing ends its thread but `close`.

    Responders and health are by the camera's name; `max_rate` tells the answers per second and
    camera that are allowed at most.
    """

    def __init__(
        self,
        responders: Mapping[str, Responder],
        health: Mapping[str, Health],
        max_rate: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._responders, self._health, self._max_rate = responders, health, max_rate
        self._limits = {name: RateLimit() for name in responders}
        self._mailboxes: Mailboxes[tuple[Any, float]] = Mailboxes(list(responders))
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def put(self, name: str, message: Any) -> None:
        """Take an Image or CompressedImage of a camera; never blocks."""
        now, health = time.monotonic(), self._health[name]
        health.arrived(len(message.data))
        if not self._limits[name].admits(now, self._max_rate()):
            health.finished("limited")
        elif self._mailboxes.put(name, (message, now)):
            health.finished("dropped")

    def close(self, patience_s: float = 10.0) -> bool:
        """Finish the frame at hand, and no other; False if it does not end in time."""
        for name in self._mailboxes.close():
            self._health[name].finished("dropped")
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (turn := self._mailboxes.get()) is not None:
            name, (message, received) = turn
            try:
                self._responders[name].respond(message, received)
            except Exception:  # not even the log would take it: this thread must live all the same
                traceback.print_exc()
