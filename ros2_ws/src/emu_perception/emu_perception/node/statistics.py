"""Per-camera statistics: rates, ages, durations and counts of the last seconds. Imports no ROS."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time

WINDOW_S = 10.0

OUTCOMES = ("processed", "dropped", "limited", "refused", "failed", "no_subscriber")
"""Possible outcomes of an image.

Dropped: a newer image replaced it. Limited: it exceeded `max_rate`. Refused: it cannot be read.
Failed: an exception. No subscriber: no output has one, so nothing was computed.
"""

DURATIONS = ("age", "latency", "inference")

MAX_AGE_S = 60.0
"""No image waits longer in this node. An older stamp comes from another clock."""

MAX_LEAD_S = 0.5
"""A stamp may be that far in the future, because `/clock` advances in steps."""


@dataclass(frozen=True)
class FrameTiming:
    """Of one processed image: time from receipt to the last output, inference time, and age."""

    latency_s: float
    inference_s: float | None
    age_s: float | None
    age_problem: str = ""
    """Why the age is unknown."""


@dataclass(frozen=True)
class StatisticsSnapshot:
    """Statistics of one camera at one moment; rates are per second."""

    active_s: float
    """Seconds since activation."""
    silence_s: float
    """Seconds since the last image, or since activation."""
    input_rate: float
    output_rate: float
    durations_ms: dict[str, tuple[float, float]]
    """p50 and p99 of each of DURATIONS that is known."""
    age_problem: str
    """Why the age is unknown."""
    counts: dict[str, int]
    """Images since the start of the node: "in" and each of OUTCOMES."""
    recent: dict[str, int]
    """The same within the window."""
    lost: int
    """Images that the middleware lost within the window."""
    image_bytes: int
    """Size of the last image; 0 before the first."""
    last_error: str = ""
    last_error_age_s: float | None = None


class CameraStatistics:
    """Collect the statistics of one camera. Thread-safe; `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._totals: Counter[str] = Counter()
        self._image_bytes = 0
        self._error: tuple[float, str] | None = None
        self.restart()

    def restart(self) -> None:
        """Clear all windows, on activation; totals are kept."""
        with self._lock:
            # Per name: time and value of each entry of the last seconds.
            self._windows: defaultdict[str, deque[tuple[float, float]]] = defaultdict(deque)
            self._age_problem = ""
            self._since = self._last_image = self._clock()

    def reset_ages(self) -> None:
        """Reset age statistics, after a jump of the ROS clock."""
        with self._lock:
            self._windows["age"].clear()
            self._age_problem = ""

    def count_image(self, size_bytes: int) -> None:
        """Count one image that arrived."""
        with self._lock:
            self._last_image = self._count("in")
            self._image_bytes = size_bytes

    def count_lost(self, count: int) -> None:
        """Count images that the middleware lost."""
        with self._lock:
            self._windows["lost"].append((self._clock(), count))

    def count_outcome(self, outcome: str, timing: FrameTiming | None = None) -> None:
        """Count one frame's outcome, one of OUTCOMES; `timing` belongs to a processed frame."""
        with self._lock:
            now = self._count(outcome)
            if timing is None:
                return
            self._age_problem = timing.age_problem
            durations = (timing.age_s, timing.latency_s, timing.inference_s)
            for name, seconds in zip(DURATIONS, durations, strict=True):
                if seconds is not None:
                    self._windows[name].append((now, 1e3 * seconds))

    def set_last_error(self, text: str) -> None:
        """Keep the text and the time of the last error."""
        with self._lock:
            self._error = (self._clock(), text)

    def counts(self) -> dict[str, int]:
        """Return the number of images since the node's start: "in" and each of OUTCOMES."""
        with self._lock:
            return {kind: self._totals[kind] for kind in ("in", *OUTCOMES)}

    def snapshot(self) -> StatisticsSnapshot:
        """Return the current statistics."""
        counts = self.counts()
        with self._lock:
            now = self._clock()
            recent = {kind: len(self._values(kind, now)) for kind in ("in", *OUTCOMES)}
            counted_s = max(min(now - self._since, WINDOW_S), 1e-3)
            age_problem = self._age_problem if recent["processed"] else ""
            durations = {name: self._values(name, now) for name in DURATIONS}
            return StatisticsSnapshot(
                active_s=now - self._since,
                silence_s=now - self._last_image,
                input_rate=recent["in"] / counted_s,
                output_rate=recent["processed"] / counted_s,
                durations_ms={
                    name: tuple(np.percentile(values, (50, 99)).tolist())
                    for name, values in durations.items()
                    if values and not (name == "age" and age_problem)
                },
                age_problem=age_problem,
                counts=counts,
                recent=recent,
                lost=round(sum(self._values("lost", now))),
                image_bytes=self._image_bytes,
                last_error=self._error[1] if self._error else "",
                last_error_age_s=now - self._error[0] if self._error else None,
            )

    def _count(self, kind: str) -> float:
        """Count an image, "in" or an outcome, and return the time."""
        now = self._clock()
        self._totals[kind] += 1
        self._windows[kind].append((now, 1.0))
        return now

    def _values(self, name: str, now: float) -> list[float]:
        """Drop the entries before the window, and return the values of the others."""
        entries = self._windows[name]
        while entries and entries[0][0] <= now - WINDOW_S:
            entries.popleft()
        return [value for _, value in entries]


def resident_bytes(pid: int | str = "self") -> int:
    """Return the resident memory of a process, by default of this one (Linux; 0 elsewhere)."""
    statm = Path(f"/proc/{pid}/statm")
    if not statm.is_file():
        return 0
    return int(statm.read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def stamp_age(now_ns: int, stamp: Time) -> tuple[float | None, str]:
    """Return a stamp's age in seconds, or None and why it is unknown; `now_ns` is the ROS time."""
    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
    if stamp_ns == 0:
        return None, "the images have no stamp"
    if now_ns == 0:
        return None, "use_sim_time is set, but nothing was received on /clock"
    age_s = (now_ns - stamp_ns) / 1e9
    days = abs(age_s) / 86400
    distance = f"{abs(age_s):.1f} s" if days < 2 else f"{days:.0f} days"
    if age_s > MAX_AGE_S:
        return None, (
            f"stamps are {distance} behind this node's clock: play bags with --clock and set "
            "use_sim_time; otherwise synchronise the clocks"
        )
    if age_s < -MAX_LEAD_S:
        return None, (
            f"stamps are {distance} ahead of this node's clock: synchronise the clocks, or set "
            "use_sim_time to the same value in all nodes"
        )
    return max(0.0, age_s), ""
