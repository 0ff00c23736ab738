"""Which moments of a drive are worth a bag: those in which the network was in doubt.

Decides from numbers and times alone what to keep; knows neither ROS nor the disk. A moment begins
when a frame's doubt exceeds its limit, reaches back as far as the ring buffer does, and ends a
while later. Times are of one clock that never jumps, in nanoseconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

LABEL, DEPTH = "mean label uncertainty", "mean relative depth uncertainty"
_NS = 10**9


@dataclass(frozen=True)
class Rules:
    """When a moment begins and how long it is; a limit of 0 is not looked at."""

    limits: dict[str, float]
    before_s: float = 3.0
    after_s: float = 3.0
    interval_s: float = 60.0
    buffer_bytes: int = 256 * 2**20


class Received(NamedTuple):
    """A raw message: when it came, by the clock that never jumps and by the one that bags know."""

    topic: str
    time_ns: int
    bag_time_ns: int
    data: bytes
    latched: bool = False


class Doubt(NamedTuple):
    """How uncertain a frame is: `kind` is LABEL or DEPTH."""

    kind: str
    value: float
    stamp_ns: int
    time_ns: int


@dataclass
class Moment:
    """Why a moment is kept, and every frame's doubt in it, before the trigger and after."""

    trigger: Doubt
    limit: float
    frames: list[Doubt] = field(default_factory=list)

    def peak(self, kind: str) -> float | None:
        """The largest doubt of a kind; None if there was none of it."""
        return max((frame.value for frame in self.frames if frame.kind == kind), default=None)


class Sink(Protocol):
    """What becomes of moments; one is at hand at most."""

    def begin(self, moment: Moment, messages: Sequence[Received]) -> None:
        """A moment has begun, with what was received before."""

    def add(self, message: Received) -> None:
        """A message of the moment at hand."""

    def end(self, moment: Moment, whole: bool) -> None:
        """The moment at hand is over; `whole` unless the recording ended before."""


class RingBuffer:
    """The messages of the last seconds, of so many bytes at most; the oldest go first."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self.size = 0
        self._span_ns, self._max_bytes = round(seconds * _NS), max_bytes
        self._messages: deque[Received] = deque()

    def add(self, message: Received) -> None:
        self._messages.append(message)
        self.size += len(message.data)
        oldest_ns = message.time_ns - self._span_ns
        while self._messages and (
            self._messages[0].time_ns < oldest_ns or self.size > self._max_bytes
        ):
            self.size -= len(self._messages.popleft().data)

    def drain(self) -> list[Received]:
        """All of them, in the order in which they came; the buffer is empty then."""
        messages = list(self._messages)
        self._messages.clear()
        self.size = 0
        return messages


class Moments:
    """Takes everything that is received, and passes what belongs to a moment to `sink`."""

    def __init__(self, rules: Rules, sink: Sink) -> None:
        self.rules, self._sink = rules, sink
        self.passed_over = 0
        """Frames in doubt that came too soon after the last moment's."""
        self._buffer = RingBuffer(rules.before_s, rules.buffer_bytes)
        self._latched: dict[str, Received] = {}
        self._recent: deque[Doubt] = deque()
        self._moment: Moment | None = None
        self._last_ns: int | None = None

    def take(self, message: Received) -> None:
        """One more message."""
        self.tick(message.time_ns)
        if message.latched:  # said once and for all: no window may leave it out
            self._latched[message.topic] = message
        if self._moment is not None:
            self._sink.add(message)
        elif not message.latched:
            self._buffer.add(message)

    def judge(self, doubt: Doubt) -> None:
        """One more frame's doubt, after the message that told it."""
        self.tick(doubt.time_ns)
        if self._moment is not None:
            self._moment.frames.append(doubt)
            return
        self._recent.append(doubt)
        while doubt.time_ns - self._recent[0].time_ns > self.rules.before_s * _NS:
            self._recent.popleft()
        limit = self.rules.limits.get(doubt.kind, 0.0)
        if not (limit and doubt.value > limit):
            return
        interval_ns = self.rules.interval_s * _NS
        if self._last_ns is not None and doubt.time_ns - self._last_ns < interval_ns:
            self.passed_over += 1
            return
        self._last_ns = doubt.time_ns
        self._moment = Moment(doubt, limit, list(self._recent))
        self._recent.clear()
        self._sink.begin(self._moment, self._before())

    def tick(self, now_ns: int) -> None:
        """Time goes on, whether or not messages come."""
        moment = self._moment
        if moment and now_ns - moment.trigger.time_ns > self.rules.after_s * _NS:
            self._end(whole=True)

    def finish(self) -> None:
        """Nothing more will come."""
        if self._moment is not None:
            self._end(whole=False)

    def _end(self, whole: bool) -> None:
        moment, self._moment = self._moment, None
        assert moment is not None
        self._sink.end(moment, whole)

    def _before(self) -> list[Received]:
        """What is buffered, and first what was latched, however long ago."""
        messages = self._buffer.drain()
        begin_ns = messages[0].bag_time_ns if messages else None
        latched = [
            message._replace(bag_time_ns=message.bag_time_ns if begin_ns is None else begin_ns)
            for message in self._latched.values()
        ]
        return [*latched, *messages]


def mean_uncertainty(values: np.ndarray) -> float | None:
    """Mean of the finite values; None if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean(dtype=np.float64)) if finite.size else None


class DepthDoubts:
    """Puts the depths of a frame and their deviations together, in whichever order they come."""

    def __init__(self) -> None:
        self._depth: tuple[int, np.ndarray] | None = None
        self._deviation: tuple[int, np.ndarray] | None = None

    def depth(self, stamp_ns: int, depth: np.ndarray) -> float | None:
        """Take the depths of a frame; its mean of depth_std / depth if both are there now."""
        self._depth = stamp_ns, depth
        return self._ratio()

    def deviation(self, stamp_ns: int, depth_std: np.ndarray) -> float | None:
        """Take the deviations of a frame; likewise."""
        self._deviation = stamp_ns, depth_std
        return self._ratio()

    def _ratio(self) -> float | None:
        if self._depth is None or self._deviation is None:
            return None
        (stamp_ns, depth), (other_ns, deviation) = self._depth, self._deviation
        if stamp_ns != other_ns or depth.shape != deviation.shape:
            return None
        self._depth = self._deviation = None
        with np.errstate(divide="ignore", invalid="ignore"):
            return mean_uncertainty(deviation / depth)
