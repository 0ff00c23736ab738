"""Between a thread that must not wait and a disk that makes one wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

LIMIT = 512 * 2**20
"""Bytes that may wait for a slow disk."""

_IDLE_AFTER_S = 1.0


class DiskQueue:
    """Jobs that write, done one after the other by whoever calls `run`."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._jobs: SimpleQueue[tuple[int, Callable[[], None]] | None] = SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()

    def put(self, size: int, job: Callable[[], None]) -> bool:
        """Add a job that writes `size` bytes; False, and it is left out, if the disk is too slow.

        A job of no size is always taken.
        """
        with self._lock:
            if size and self._waiting + size > self._limit:
                return False
            self._waiting += size
        self._jobs.put((size, job))
        return True

    def close(self) -> None:
        """Let `run` end once everything that waits is written."""
        self._jobs.put(None)

    def run(self, idle: Callable[[], None] = lambda: None) -> None:
        """Do the jobs until `close`; `idle` is called when none comes for a second."""
        while True:
            try:
                job = self._jobs.get(timeout=_IDLE_AFTER_S)
            except Empty:
                idle()
                continue
            if job is None:
                return
            size, write = job
            write()
            with self._lock:
                self._waiting -= size
