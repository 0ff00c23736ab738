"""How one camera fares: rates, ages, durations and counts of the last seconds. Imports no ROS.

health = Health()
health.arrived(size)                              # an image came
health.finished("answered", Timing(...))          # and was answered
health.report().output_rate
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

WINDOW_S = 10.0
KEPT = 4096
"""Values in a window at most: 10 s at 400 Hz."""

OUTCOMES = ("answered", "dropped", "limited", "refused", "failed", "unheard")
"""What becomes of an image. Dropped: a newer one came first. Limited: beyond `max_rate`. Refused:
no image that we can read. Unheard: nobody subscribes to anything."""

FINISHED = ("answered", "refused", "failed", "unheard")
"""Those of an image that the inference thread took up."""


class Window:
    """Values of the last `WINDOW_S` seconds."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def add(self, now: float, value: float = 1.0) -> None:
        self._entries.append((now, value))

    def clear(self) -> None:
        self._entries.clear()

    def values(self, now: float) -> list[float]:
        """What was added within the window, oldest first."""
        while self._entries and self._entries[0][0] <= now - WINDOW_S:
            self._entries.popleft()
        return [value for _, value in self._entries]

    def rate(self, now: float, since: float) -> float:
        """Values per second; `since` is when counting began."""
        count = len(self.values(now))
        begin = max(since, now - WINDOW_S)
        if count == KEPT:
            begin = self._entries[0][0]
        return count / max(now - begin, 1e-3)

    def p50_p99(self, now: float) -> tuple[float, float] | None:
        """Median and 99th percentile; None of nothing."""
        values = self.values(now)
        if not values:
            return None
        median, high = np.percentile(values, (50, 99))
        return float(median), float(high)


@dataclass(frozen=True)
class Timing:
    """Of one image: seconds from its receipt to its answer and of its inference, and its age."""

    latency_s: float
    inference_s: float | None
    age: Age


@dataclass(frozen=True)
class Report:
    """How a camera fares now. Rates per second; pairs are p50 and p99, in milliseconds."""

    active_s: float
    """Since it was activated."""
    silence_s: float
    """Since the last image, or since it was activated."""
    input_rate: float
    output_rate: float
    latency_ms: tuple[float, float] | None
    inference_ms: tuple[float, float] | None
    age_ms: tuple[float, float] | None
    age_doubt: str
    """Why there is no age."""
    counts: dict[str, int]
    """Images since the node's start: "in" and each of OUTCOMES."""
    recent: dict[str, int]
    """Each of OUTCOMES within the window."""
    lost: int
    """Images that the middleware lost on their way here, within the window."""
    image_bytes: int
    """Of the last image; 0 before the first."""
    last_error: str = ""
    last_error_s: float | None = None
    """How long ago."""


class Health:
    """Collects numbers from all threads; `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._totals: Counter[str] = Counter()
        self._inputs, self._lost = Window(), Window()
        self._latency, self._inference, self._ages = Window(), Window(), Window()
        self._outcomes = {outcome: Window() for outcome in OUTCOMES}
        self._age_doubt = ""
        self._image_bytes = 0
        self._error: tuple[float, str] | None = None
        self._since = self._last_image = self._clock()

    def activated(self) -> None:
        """Count anew what is counted per second; totals go on."""
        with self._lock:
            for window in (self._inputs, self._lost, self._latency, self._inference, self._ages):
                window.clear()
            for window in self._outcomes.values():
                window.clear()
            self._since = self._last_image = self._clock()
            self._age_doubt = ""

    def arrived(self, size: int) -> None:
        """An image of so many bytes came."""
        with self._lock:
            self._totals["in"] += 1
            self._last_image = self._clock()
            self._inputs.add(self._last_image)
            self._image_bytes = size

    def lost(self, count: int) -> None:
        """The middleware lost images."""
        with self._lock:
            self._lost.add(self._clock(), count)

    def finished(self, outcome: str, timing: Timing | None = None) -> None:
        """An image met its fate; `timing` of one that was answered."""
        with self._lock:
            now = self._clock()
            self._totals[outcome] += 1
            self._outcomes[outcome].add(now)
            if timing is None:
                return
            self._latency.add(now, 1e3 * timing.latency_s)
            if timing.inference_s is not None:
                self._inference.add(now, 1e3 * timing.inference_s)
            self._age_doubt = timing.age.doubt
            if timing.age.seconds is not None:
                self._ages.add(now, 1e3 * timing.age.seconds)

    def failed(self, what: str) -> None:
        """Remember an error in words."""
        with self._lock:
            self._error = (self._clock(), what)

    def clock_jumped(self) -> None:
        """Ages from before are worth nothing: they belong to another time."""
        with self._lock:
            self._ages.clear()
            self._age_doubt = ""

    def counts(self) -> dict[str, int]:
        """Images since the node's start: in = the sum of OUTCOMES + one at work + one waiting."""
        with self._lock:
            return {kind: self._totals[kind] for kind in ("in", *OUTCOMES)}

    def report(self) -> Report:
        """The state of things now."""
        counts = self.counts()
        with self._lock:
            now = self._clock()
            recent = {kind: len(window.values(now)) for kind, window in self._outcomes.items()}
            doubt = self._age_doubt if recent["answered"] else ""
            return Report(
                active_s=now - self._since,
                silence_s=now - self._last_image,
                input_rate=self._inputs.rate(now, self._since),
                output_rate=self._outcomes["answered"].rate(now, self._since),
                latency_ms=self._latency.p50_p99(now),
                inference_ms=self._inference.p50_p99(now),
                age_ms=None if doubt else self._ages.p50_p99(now),
                age_doubt=doubt,
                counts=counts,
                recent=recent,
                lost=round(sum(self._lost.values(now))),
                image_bytes=self._image_bytes,
                last_error=self._error[1] if self._error else "",
                last_error_s=now - self._error[0] if self._error else None,
            )


def resident_bytes(pid: int | str = "self") -> int:
    """Memory of a process, by default this one, that is in RAM (Linux; 0 elsewhere)."""
    statm = Path(f"/proc/{pid}/statm")
    if not statm.is_file():
        return 0
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


PLAUSIBLE_AGE_S = 60.0
"""No image waits that long here: what seems older was stamped by another clock."""

PLAUSIBLE_LEAD_S = 0.5
"""Stamps so far in the future are those of a clock that is read in steps, as `/clock` is."""


class Age(NamedTuple):
    """Seconds since a stamp, or None and the reason why nobody can tell."""

    seconds: float | None
    doubt: str = ""


def stamp_age(now_ns: int, stamp: Any) -> Age:
    """Age of a builtin_interfaces/Time at `now_ns` nanoseconds of the node's ROS clock."""
    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
    if stamp_ns == 0:
        return Age(None, "the images carry no stamp")
    if now_ns == 0:
        return Age(None, "use_sim_time is set, and nothing has come on /clock")
    age_s = (now_ns - stamp_ns) / 1e9
    if age_s > PLAUSIBLE_AGE_S:
        return Age(
            None,
            f"stamps are {_span(age_s)} behind this node's clock: for a bag, play with --clock "
            "and set use_sim_time; otherwise synchronise the clocks",
        )
    if age_s < -PLAUSIBLE_LEAD_S:
        return Age(
            None,
            f"stamps are {_span(-age_s)} ahead of this node's clock: synchronise the clocks, or "
            "set use_sim_time alike in all nodes",
        )
    return Age(max(0.0, age_s))


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"
