"""Per-camera statistics: rates, ages, durations and counts of the last seconds. Imports no ROS."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time

WINDOW_S = 10.0

OUTCOMES = ("processed", "dropped", "limited", "refused", "failed", "no_subscriber")
"""Possible outcomes of an image.

Dropped: a newer image replaced it. Limited: it exceeded `max_rate`. Refused: it cannot be read.
Failed: an exception. No subscriber: no output has one, so nothing was computed.
"""

FINISHED = ("processed", "refused", "failed", "no_subscriber")
"""Outcomes of the images that reached the inference thread."""

MAX_AGE_S = 60.0
"""No image waits longer in this node. An older stamp comes from another clock."""

MAX_LEAD_S = 0.5
"""A stamp may be that far in the future, because `/clock` advances in steps."""


class Age(NamedTuple):
    """Seconds since a stamp, or None and the reason why the age is unknown."""

    seconds: float | None
    problem: str = ""


@dataclass(frozen=True)
class FrameTiming:
    """Of one processed image: time from receipt to the last output, inference time, and age."""

    latency_s: float
    inference_s: float | None
    age: Age


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
    """p50 and p99 of "age", "latency" and "inference", if known."""
    age_problem: str
    """Why the age is unknown."""
    counts: dict[str, int]
    """Images since the start of the node: "in" and each of OUTCOMES."""
    recent: dict[str, int]
    """Images within the window, for each of OUTCOMES."""
    lost: int
    """Images that the middleware lost within the window."""
    image_bytes: int
    """Size of the last image; 0 before the first."""
    last_error: str = ""
    last_error_age_s: float | None = None


class Window:
    """Values of the last `WINDOW_S` seconds."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float = 1.0) -> None:
        self._entries.append((now, value))

    def values(self, now: float) -> list[float]:
        """Return the values within the window, oldest first."""
        while self._entries and self._entries[0][0] <= now - WINDOW_S:
            self._entries.popleft()
        return [value for _, value in self._entries]

    def rate(self, now: float, since: float) -> float:
        """Return values per second; `since` is the time at which counting began."""
        return len(self.values(now)) / max(now - max(since, now - WINDOW_S), 1e-3)


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
            self._inputs, self._lost = Window(), Window()
            self._durations = {name: Window() for name in ("age", "latency", "inference")}
            self._outcomes = {outcome: Window() for outcome in OUTCOMES}
            self._age_problem = ""
            self._since = self._last_image = self._clock()

    def reset_ages(self) -> None:
        """Reset age statistics, after a jump of the ROS clock."""
        with self._lock:
            self._durations["age"] = Window()
            self._age_problem = ""

    def count_image(self, size_bytes: int) -> None:
        """Count one image that arrived."""
        with self._lock:
            self._totals["in"] += 1
            self._last_image = self._clock()
            self._inputs.add(self._last_image)
            self._image_bytes = size_bytes

    def count_lost(self, count: int) -> None:
        """Count images that the middleware lost."""
        with self._lock:
            self._lost.add(self._clock(), count)

    def count_outcome(self, outcome: str, timing: FrameTiming | None = None) -> None:
        """Count one frame's outcome, one of OUTCOMES; `timing` belongs to a processed frame."""
        with self._lock:
            now = self._clock()
            self._totals[outcome] += 1
            self._outcomes[outcome].add(now)
            if timing is None:
                return
            self._age_problem = timing.age.problem
            for name, seconds in (
                ("age", timing.age.seconds),
                ("latency", timing.latency_s),
                ("inference", timing.inference_s),
            ):
                if seconds is not None:
                    self._durations[name].add(now, 1e3 * seconds)

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
            recent = {kind: len(window.values(now)) for kind, window in self._outcomes.items()}
            age_problem = self._age_problem if recent["processed"] else ""
            durations = {name: window.values(now) for name, window in self._durations.items()}
            return StatisticsSnapshot(
                active_s=now - self._since,
                silence_s=now - self._last_image,
                input_rate=self._inputs.rate(now, self._since),
                output_rate=self._outcomes["processed"].rate(now, self._since),
                durations_ms={
                    name: tuple(np.percentile(values, (50, 99)).tolist())
                    for name, values in durations.items()
                    if values and not (name == "age" and age_problem)
                },
                age_problem=age_problem,
                counts=counts,
                recent=recent,
                lost=round(sum(self._lost.values(now))),
                image_bytes=self._image_bytes,
                last_error=self._error[1] if self._error else "",
                last_error_age_s=now - self._error[0] if self._error else None,
            )


def resident_bytes(pid: int | str = "self") -> int:
    """Return the resident memory of a process, by default of this one (Linux; 0 elsewhere)."""
    statm = Path(f"/proc/{pid}/statm")
    if not statm.is_file():
        return 0
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def stamp_age(now_ns: int, stamp: Time) -> Age:
    """Return the age of a stamp at `now_ns` nanoseconds of the node's ROS clock."""
    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
    if stamp_ns == 0:
        return Age(None, "the images have no stamp")
    if now_ns == 0:
        return Age(None, "use_sim_time is set, but nothing was received on /clock")
    age_s = (now_ns - stamp_ns) / 1e9
    if age_s > MAX_AGE_S:
        reason = (
            f"stamps are {_duration(age_s)} behind this node's clock: play bags with --clock and "
            "set use_sim_time; otherwise synchronise the clocks"
        )
        return Age(None, reason)
    if age_s < -MAX_LEAD_S:
        reason = (
            f"stamps are {_duration(-age_s)} ahead of this node's clock: synchronise the clocks, "
            "or set use_sim_time to the same value in all nodes"
        )
        return Age(None, reason)
    return Age(max(0.0, age_s))


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"
