"""Answers per second, limited: frames that come too soon are passed over as they come."""

from __future__ import annotations

import math

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
