"""Log each kind of problem once instead of with every frame."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.impl.rcutils_logger import RcutilsLogger

REPEAT_AFTER_S = 60.0


class LogOnce:
    """Log the first problem of each kind, and errors again after a minute. Thread-safe."""

    def __init__(self, logger: RcutilsLogger, clock: Callable[[], float] = time.monotonic) -> None:
        self.logger = logger
        self._clock = clock
        self._lock = threading.Lock()
        self._logged: dict[str, tuple[float, int]] = {}  # kind -> time, suppressed since then

    # rclpy binds each line of code that logs to one severity: hence two methods.

    def warning(self, kind: str, message: str) -> None:
        """Log a warning, once per kind."""
        if text := self._due(kind, message, math.inf):
            self.logger.warning(text)

    def error(self, kind: str, message: str) -> None:
        """Log an error, at most once per minute and kind."""
        if text := self._due(kind, message, REPEAT_AFTER_S):
            self.logger.error(text)

    def _due(self, kind: str, message: str, repeat_after_s: float) -> str:
        now = self._clock()
        with self._lock:
            last, suppressed = self._logged.get(kind, (-math.inf, 0))
            if now - last < repeat_after_s:
                self._logged[kind] = (last, suppressed + 1)
                return ""
            self._logged[kind] = (now, 0)
        return f"{message} ({suppressed} more since the last one)" if suppressed else message
