"""Received messages, and the queue between the thread that receives and the one that writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import NamedTuple

QUEUE_BYTES = 512 * 2**20
"""Default limit of the messages that wait for a slow disk."""

_IDLE_AFTER_S = 1.0


class Received(NamedTuple):
    """Raw CDR message with the times of its receipt by the monotonic clock and, as bags need it,
    by the system clock; `latched` means that its publishers are transient local."""

    topic: str
    time_ns: int
    bag_time_ns: int
    data: bytes
    latched: bool = False


class DiskQueue:
    """Queue of write jobs, which the thread that calls `run` executes in order."""

    def __init__(self, limit: int = QUEUE_BYTES) -> None:
        self._limit = limit
        self._jobs: SimpleQueue[tuple[int, Callable[[], None]] | None] = SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()

    def put(self, size: int, job: Callable[[], None]) -> bool:
        """Add a job that writes `size` bytes.

        Returns:
            False if the job was rejected because too many bytes wait; never for size 0.
        """
        with self._lock:
            if size and self._waiting + size > self._limit:
                return False
            self._waiting += size
        self._jobs.put((size, job))
        return True

    def close(self) -> None:
        """Let `run` return after the jobs that wait now."""
        self._jobs.put(None)

    def run(self, idle: Callable[[], None]) -> None:
        """Execute jobs until `close`; call `idle` when there was none for a second."""
        while True:
            try:
                item = self._jobs.get(timeout=_IDLE_AFTER_S)
            except Empty:
                idle()
                continue
            if item is None:
                return
            size, job = item
            job()
            with self._lock:
                self._waiting -= size
