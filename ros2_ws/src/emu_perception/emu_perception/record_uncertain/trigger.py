"""Trigger of the recording: find the moments in which the network is uncertain.

A moment begins when the uncertainty of a frame exceeds a limit. It includes the seconds before,
from a ring buffer, and the seconds after. This module knows neither ROS nor the disk. All times
are of the monotonic clock, in nanoseconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emu_perception.bag_tools.disk_queue import Received

if TYPE_CHECKING:
    from emu_perception.record_uncertain.moment_bags import MomentBags

LABEL, DEPTH = "mean label uncertainty", "mean relative depth uncertainty"
_NS = 10**9


@dataclass(frozen=True)
class TriggerRules:
    """When a moment begins, and how long it is; a limit of 0 disables its kind."""

    limits: dict[str, float]
    before_s: float = 3.0
    after_s: float = 3.0
    interval_s: float = 60.0
    buffer_bytes: int = 256 * 2**20


class FrameUncertainty(NamedTuple):
    """Mean uncertainty of one frame; `kind` is LABEL or DEPTH."""

    kind: str
    value: float
    stamp_ns: int
    time_ns: int


@dataclass
class Moment:
    """The frame that exceeded a limit, and the uncertainties of the frames around it."""

    trigger: FrameUncertainty
    limit: float
    frames: list[FrameUncertainty] = field(default_factory=list)

    @property
    def reason(self) -> str:
        """One line, for people."""
        return f"{self.trigger.kind} {self.trigger.value:.3f} > {self.limit:g}"

    def peak(self, kind: str) -> float | None:
        """Largest uncertainty of a kind; None if there is none."""
        return max((frame.value for frame in self.frames if frame.kind == kind), default=None)


class RingBuffer:
    """Messages of the last seconds, up to a number of bytes; the oldest are dropped first."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self.size = 0
        self._span_ns, self._max_bytes = round(seconds * _NS), max_bytes
        self._messages: deque[Received] = deque()

    def add(self, message: Received) -> None:
        """Append a message and drop old ones."""
        self._messages.append(message)
        self.size += len(message.data)
        oldest_ns, held = message.time_ns - self._span_ns, self._messages
        while held and (held[0].time_ns < oldest_ns or self.size > self._max_bytes):
            self.size -= len(held.popleft().data)

    def drain(self) -> list[Received]:
        """Remove and return all messages in the order of receipt."""
        messages, self._messages, self.size = list(self._messages), deque(), 0
        return messages


class Trigger:
    """Receives all messages, and queues calls of `bags` with the messages of a moment.

    `queue` takes a size in bytes and the call. The attribute `suppressed` counts uncertain frames
    that came too soon after a moment's trigger.
    """

    def __init__(
        self,
        rules: TriggerRules,
        bags: MomentBags,
        queue: Callable[[int, Callable[[], None]], None],
    ) -> None:
        self.suppressed = 0
        self._rules, self._bags, self._queue = rules, bags, queue
        self._buffer = RingBuffer(rules.before_s, rules.buffer_bytes)
        self._latched: dict[str, Received] = {}
        self._recent: deque[FrameUncertainty] = deque()
        self._moment: Moment | None = None
        self._last_ns = -math.inf  # when the last moment began

    def take(self, message: Received) -> None:
        """Process a message."""
        self.tick(message.time_ns)
        if message.latched:  # it may be sent only once, so every moment includes the last one
            self._latched[message.topic] = message
        if self._moment is not None:
            self._queue(len(message.data), partial(self._bags.add, message))
        else:
            self._buffer.add(message)

    def check(self, frame: FrameUncertainty) -> None:
        """Process a frame's uncertainty, after the message that it was computed from."""
        self.tick(frame.time_ns)
        if self._moment is not None:
            self._moment.frames.append(frame)
            return
        self._recent.append(frame)
        while frame.time_ns - self._recent[0].time_ns > self._rules.before_s * _NS:
            self._recent.popleft()
        limit = self._rules.limits.get(frame.kind, 0.0)
        if not (limit and frame.value > limit):
            return
        if frame.time_ns - self._last_ns < self._rules.interval_s * _NS:
            self.suppressed += 1
            return
        self._last_ns = frame.time_ns
        self._moment = Moment(frame, limit, list(self._recent))
        self._recent.clear()
        # Latched messages of any age, timed like the first buffered one; then the buffer.
        messages = self._buffer.drain()
        buffered = {message.topic for message in messages}
        latched = [m for topic, m in self._latched.items() if topic not in buffered]
        if messages:
            latched = [m._replace(bag_time_ns=messages[0].bag_time_ns) for m in latched]
        size = sum(len(message.data) for message in (*latched, *messages))
        self._queue(size, partial(self._bags.begin, self._moment, [*latched, *messages]))

    def tick(self, now_ns: int) -> None:
        """End the current moment if its time is over, even if no messages come."""
        moment = self._moment
        if moment and now_ns - moment.trigger.time_ns > self._rules.after_s * _NS:
            self.finish(complete=True)

    def finish(self, complete: bool = False) -> None:
        """End the current moment, incomplete if the recording ends."""
        if self._moment is not None:
            self._queue(0, partial(self._bags.end, complete))
        self._moment = None


def mean_uncertainty(values: np.ndarray) -> float | None:
    """Mean of the finite values; None if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean(dtype=np.float64)) if finite.size else None


class DepthRatio:
    """Combines the maps `depth` and `std` of a frame, in either order of receipt."""

    def __init__(self) -> None:
        self._maps: dict[str, tuple[int, np.ndarray]] = {}

    def add(self, name: str, stamp_ns: int, values: np.ndarray) -> float | None:
        """Add a map; returns the mean of std / depth if both maps of the frame are known now."""
        self._maps[name] = stamp_ns, values
        if len(self._maps) < 2:
            return None
        (stamp_ns, depth), (other_ns, std) = self._maps["depth"], self._maps["std"]
        if stamp_ns != other_ns or depth.shape != std.shape:
            return None
        self._maps.clear()
        with np.errstate(divide="ignore", invalid="ignore"):
            return mean_uncertainty(std / depth)
