"""Write the bags of uncertain moments into one folder, within a quota, each with a `why.json`.

This module does not know ROS. If a bag cannot be written, it logs the reason and continues with
the next moment.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from emu_core.bags.errors import BagError
from emu_core.bags.writer import BagWriter
from emu_core.files import expand, read_json, write_json
from emu_perception.bag_tools.disk_queue import Received
from emu_perception.record_uncertain.trigger import DEPTH, LABEL, Moment

WHY = "why.json"
MADE_BY = "record_uncertain of emu_perception"
STOP, DELETE_OLDEST = "stop", "delete_oldest"
WHEN_FULL = (STOP, DELETE_OLDEST)


class Quota:
    """Limit on the bytes of our own bags in a folder; others are never counted or deleted."""

    def __init__(self, folder: Path, limit: int, when_full: str) -> None:
        self._folder, self._limit = folder, limit
        self._deletes = when_full == DELETE_OLDEST
        self._others: list[tuple[Path, int]] = []
        self._used = 0

    def begin(self) -> None:
        """Measure the existing bags, before a new one."""
        bags = [file.parent for file in expand(self._folder / "*" / WHY) if _is_ours(file)]
        bags.sort(key=lambda bag: bag.name)  # names begin with the time
        self._others = [(bag, sum(f.stat().st_size for f in bag.iterdir())) for bag in bags]
        self._used = sum(size for _, size in self._others)

    def reserve(self, size: int) -> None:
        """Count `size` more bytes, and delete our oldest bags if that is allowed and necessary.

        Raises:
            BagError: The quota is reached.
        """
        while self._used + size > self._limit:
            if not (self._deletes and self._others):
                raise BagError(
                    f"the bags in {self._folder} have reached the quota: move some away, raise "
                    f"quota_mb, or set when_full to {DELETE_OLDEST}"
                )
            oldest, freed = self._others.pop(0)
            shutil.rmtree(oldest, ignore_errors=True)
            self._used -= freed
        self._used += size


def _is_ours(why: Path) -> bool:
    content = read_json(why)
    return isinstance(content, dict) and content.get("made_by") == MADE_BY


class _OpenBag(NamedTuple):
    writer: BagWriter
    moment: Moment
    time: datetime


class MomentBags:
    """Writes the bag of one moment at a time; only one thread may use it.

    `write` writes a message into a bag, and before it the topic if it is new. `info` and `error`
    log. The attribute `written` counts the closed bags.
    """

    def __init__(
        self,
        folder: Path,
        quota: Quota,
        storage: str,
        write: Callable[[BagWriter, Received], None],
        info: Callable[[str], object],
        error: Callable[[str], object],
    ) -> None:
        self.written = 0
        self._folder, self._quota, self._storage = folder, quota, storage
        self._write_message, self._info, self._error = write, info, error
        self._open: _OpenBag | None = None

    def begin(self, moment: Moment, messages: Sequence[Received]) -> None:
        """Open a bag and write the messages received before."""
        time = datetime.now(timezone.utc)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._quota.begin()
            self._quota.reserve(sum(len(message.data) for message in messages))
            opened = _OpenBag(BagWriter(self._free_path(time), self._storage), moment, time)
        except (OSError, BagError) as error:
            self._error(f"no bag of this moment ({moment.reason}): {error}")
            return
        if not self._write_why(opened, "being recorded"):  # the quota would not count this bag
            opened.writer.discard()
            return
        self._open = opened
        for message in messages:
            self._write(message)

    def add(self, message: Received) -> None:
        """Write one more message, unless the bag was given up."""
        self._write(message, len(message.data))

    def end(self, complete: bool) -> None:
        """Close the bag; the moment is incomplete if the recording ended first."""
        opened, self._open = self._open, None
        if opened is None:
            return
        try:
            opened.writer.close()
        except BagError as error:
            self._error(str(error))
            self._write_why(opened, str(error))
            return
        self.written += 1
        self._write_why(opened, "whole" if complete else "cut short: the recorder was stopped")
        self._info(f"{opened.writer.path}: {opened.moment.reason}")

    def _write(self, message: Received, more: int = 0) -> None:
        """Write a message of `more` bytes beyond those that are reserved."""
        if self._open is None:
            return
        try:
            self._quota.reserve(more)
            self._write_message(self._open.writer, message)
        except BagError as error:
            self._give_up(str(error))

    def _give_up(self, problem: str) -> None:
        opened, self._open = self._open, None
        assert opened is not None
        with suppress(BagError):
            opened.writer.close()
        self._write_why(opened, f"cut short: {problem}")
        self._error(f"{opened.writer.path} is incomplete: {problem}")

    def _write_why(self, opened: _OpenBag, state: str) -> bool:
        moment = opened.moment
        content = {
            "made_by": MADE_BY,
            "reason": moment.reason,
            "state": state,
            "time": opened.time.isoformat(timespec="milliseconds"),
            "stamp_ns": moment.trigger.stamp_ns,
            "peak": {kind: moment.peak(kind) for kind in (LABEL, DEPTH)},
            "messages": dict(opened.writer.counts),
            "frames": [{"stamp_ns": f.stamp_ns, f.kind: round(f.value, 4)} for f in moment.frames],
        }
        try:
            write_json(opened.writer.path / WHY, content)
            return True
        except OSError as error:
            self._error(f"{opened.writer.path / WHY} cannot be written: {error.strerror}")
            return False

    def _free_path(self, time: datetime) -> Path:
        name = time.strftime("%Y-%m-%dT%H-%M-%S") + f".{time.microsecond // 1000:03d}"
        path, number = self._folder / name, 1
        while path.exists():  # the system clock was set back
            number += 1
            path = self._folder / f"{name}_{number}"
        return path
