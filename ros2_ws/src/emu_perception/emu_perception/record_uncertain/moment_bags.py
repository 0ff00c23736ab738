"""Bags of uncertain moments, in one folder, within a quota, each with a `why.json` in it.

Imports no ROS. What cannot be written is told, given up, and the next moment tried again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from emu_core.bags.errors import BagError
from emu_core.bags.writer import BagWriter
from emu_core.files import replace_text
from emu_perception.record_uncertain.moments import DEPTH, LABEL, Moment, Received

WHY = "why.json"
MADE_BY = "record_uncertain of emu_perception"
STOP, DELETE_OLDEST = "stop", "delete_oldest"
WHEN_FULL = (STOP, DELETE_OLDEST)


class Quota:
    """So many bytes of our own bags in a folder; others' are never counted or deleted."""

    def __init__(self, folder: Path, limit: int, when_full: str) -> None:
        self._folder, self._limit = folder, limit
        self._deletes = when_full == DELETE_OLDEST
        self._others: list[tuple[Path, int]] = []
        self._used = 0

    def begin(self) -> None:
        """Look what is there, before a new bag."""
        bags = [file.parent for file in self._folder.glob(f"*/{WHY}") if _is_ours(file)]
        bags.sort(key=lambda bag: bag.name)  # names begin with the time
        self._others = [(bag, sum(f.stat().st_size for f in bag.iterdir())) for bag in bags]
        self._used = sum(size for _, size in self._others)

    def fits(self, size: int) -> bool:
        """Whether so many bytes more may be written; makes room for them, if it may."""
        while self._used + size > self._limit:
            if not (self._deletes and self._others):
                return False
            oldest, freed = self._others.pop(0)
            shutil.rmtree(oldest, ignore_errors=True)
            self._used -= freed
        self._used += size
        return True


def _is_ours(why: Path) -> bool:
    with suppress(OSError, ValueError):
        return json.loads(why.read_text(encoding="utf-8")).get("made_by") == MADE_BY
    return False


@dataclass(frozen=True)
class Recorded:
    """What a bag has to know of a topic: its type, and the QoS that its publishers offer."""

    type: str
    qos: Sequence[Any]


@dataclass
class _Open:
    """The bag at hand."""

    writer: BagWriter
    moment: Moment
    time: datetime


class MomentBags:
    """A `Sink` of moments that writes bags; from one thread.

    Parameters
    ----------
    describe : what a bag has to know of a topic.
    learn : extends a bag's message types by one that is installed here.
    info, error : tell people.
    """

    def __init__(
        self,
        folder: Path,
        quota: Quota,
        storage: str,
        describe: Callable[[str], Recorded],
        learn: Callable[[Any, str], None],
        info: Callable[[str], Any],
        error: Callable[[str], Any],
    ) -> None:
        self.written = 0
        self._folder, self._quota, self._storage = folder, quota, storage
        self._describe, self._learn = describe, learn
        self._info, self._error = info, error
        self._open: _Open | None = None

    def begin(self, moment: Moment, messages: Sequence[Received]) -> None:
        """Open a bag and write what was received before."""
        time = datetime.now(timezone.utc)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._quota.begin()
            if not self._quota.fits(sum(len(message.data) for message in messages)):
                self._error(f"no bag of this moment ({reason(moment)}): {self._full()}")
                return
            writer = BagWriter(self._free_path(time), self._storage)
        except (OSError, BagError) as error:
            self._error(f"no bag of this moment ({reason(moment)}): {error}")
            return
        opened = _Open(writer, moment, time)
        if not self._tell_why(opened, "being recorded"):  # a bag that the quota would not know
            writer.discard()
            return
        self._open = opened
        for message in messages:
            self._write(message)

    def add(self, message: Received) -> None:
        """Write one more message, unless the moment was given up."""
        if self._open is None:
            return
        if self._quota.fits(len(message.data)):
            self._write(message)
        else:
            self._give_up(self._full())

    def end(self, moment: Moment, whole: bool) -> None:
        """Close the bag."""
        if self._open is None:
            return
        opened, self._open = self._open, None
        try:
            opened.writer.close()
        except BagError as error:
            self._error(str(error))
            self._tell_why(opened, str(error))
            return
        self.written += 1
        self._tell_why(opened, "whole" if whole else "cut short: the recorder was stopped")
        self._info(f"{opened.writer.path}: {reason(moment)}")

    def _write(self, message: Received) -> None:
        opened = self._open
        if opened is None:
            return
        topic, writer = message.topic, opened.writer
        try:
            if topic not in writer.counts:
                described = self._describe(topic)
                self._learn(writer.store, described.type)
                writer.add_topic(topic, described.type, described.qos)
            writer.write(topic, message.bag_time_ns, message.data)
        except BagError as error:
            self._give_up(str(error))

    def _give_up(self, problem: str) -> None:
        opened, self._open = self._open, None
        assert opened is not None
        with suppress(BagError):
            opened.writer.close()
        self._tell_why(opened, f"cut short: {problem}")
        self._error(f"{opened.writer.path} is cut short: {problem}")

    def _tell_why(self, opened: _Open, state: str) -> bool:
        moment = opened.moment
        content = {
            "made_by": MADE_BY,
            "reason": reason(moment),
            "state": state,
            "time": opened.time.isoformat(timespec="milliseconds"),
            "stamp_ns": moment.trigger.stamp_ns,
            "peak": {kind: moment.peak(kind) for kind in (LABEL, DEPTH)},
            "messages": dict(opened.writer.counts),
            "frames": [
                {"stamp_ns": frame.stamp_ns, frame.kind: round(frame.value, 4)}
                for frame in moment.frames
            ],
        }
        try:
            replace_text(opened.writer.path / WHY, json.dumps(content, indent=1))
        except OSError as error:
            self._error(f"{opened.writer.path / WHY} cannot be written: {error.strerror}")
            return False
        return True

    def _free_path(self, time: datetime) -> Path:
        name = time.strftime("%Y-%m-%dT%H-%M-%S") + f".{time.microsecond // 1000:03d}"
        path, number = self._folder / name, 1
        while path.exists():  # the clock was set back
            number += 1
            path = self._folder / f"{name}_{number}"
        return path

    def _full(self) -> str:
        return (
            f"the bags in {self._folder} have reached the quota: move some away, raise quota_mb, "
            f"or set when_full to {DELETE_OLDEST}"
        )


def reason(moment: Moment) -> str:
    """One line that says why a moment is kept."""
    return f"{moment.trigger.kind} {moment.trigger.value:.3f} > {moment.limit:g}"
