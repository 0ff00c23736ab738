"""Log lines that would come with every frame, told once per kind."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

AGAIN_AFTER_S = 60.0


class Complaints:
    """Tells the first of each kind; an error again every minute, with how many were left out.

    Kinds must be few: they are remembered. Thread-safe.
    """

    def __init__(self, logger: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger, self._clock = logger, clock
        self._lock = threading.Lock()
        self._told: dict[str, tuple[float, int]] = {}

    # rclpy ties each line of code that logs to one severity: hence two of them.

    def warning(self, kind: str, message: str) -> None:
        """Warn, unless this kind was told already."""
        if text := self._due(kind, message, math.inf):
            self._logger.warning(text)

    def error(self, kind: str, message: str) -> None:
        """Log an error, unless this kind was told within the last minute."""
        if text := self._due(kind, message, AGAIN_AFTER_S):
            self._logger.error(text)

    def _due(self, kind: str, message: str, again_after_s: float) -> str:
        now = self._clock()
        with self._lock:
            last, silent = self._told.get(kind, (None, 0))
            if last is not None and now - last < again_after_s:
                self._told[kind] = (last, silent + 1)
                return ""
            self._told[kind] = (now, 0)
        return f"{message} ({silent} more like it since)" if silent else message
