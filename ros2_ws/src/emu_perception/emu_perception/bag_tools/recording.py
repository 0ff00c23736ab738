"""Recording live topics into one bag, until it is time to end."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from ament_index_python.packages import get_package_share_directory

from emu_core.bags import types as bag_types
from emu_core.bags.writer import BagWriter
from emu_perception.bag_tools.disk_queue import DiskQueue
from emu_perception.bag_tools.topics import RawTopics, recorded_qos
from emu_perception.errors import UserError
from emu_perception.ros.ros_process import RosProcess

_LOOK_PERIOD_S = (0.1, 1.0)  # looks at the graph: before everything is subscribed, and after


@dataclass(frozen=True)
class Options:
    """What to record and when to end; `topics` maps names to types, None where publishers tell."""

    topics: dict[str, str | None] = field(default_factory=dict)
    pattern: re.Pattern | None = None
    max_frames: int | None = None
    until_idle: float | None = None
    wait: float | None = None
    keep_receipts: bool = False


class Recording:
    """Records once `run` is called: a thread receives and queues, the caller's thread writes."""

    def __init__(self, ros: RosProcess, writer: BagWriter, options: Options) -> None:
        self.ros, self.options = ros, options
        self.receipts: list[dict] = []
        self.lost = 0
        self.ready = False
        self._raw = RawTopics(ros.node, self._take, _say)
        self._counts: Counter[str] = Counter()
        self._writer = writer
        self._last_receipt_s = 0.0
        self._queue = DiskQueue()
        self._failure: Exception | None = None
        self._over = threading.Event()

    def run(self) -> None:
        """Record until SIGINT or SIGTERM, `max_frames` or `until_idle`.

        Raises
        ------
        UserError
            A named topic is of a type that is not installed, or nobody publishes it in time.
        BagError
            The bag could not be written; it holds what was written before.
        """
        spinner = threading.Thread(target=self._receive, name="receiver")
        spinner.start()
        try:
            self._queue.run(idle=self._writer.flush)
        finally:
            self._over.set()
            spinner.join()
        if self._failure is not None:
            raise self._failure
        self._writer.close()

    def report(self) -> dict:
        """Totals, and (`keep_receipts`) every message's stamp and receipt; for JSON.

        Receipts are `time.monotonic_ns()`, which the processes of one machine share.
        """
        return {
            "bag": str(self._writer.path),
            "totals": {
                "messages": sum(self._counts.values()),
                "written": sum(self._writer.counts.values()),
                "lost": self.lost,
            },
            "topics": {
                name: {"type": topic.type, "count": self._counts[name]}
                for name, topic in self._raw.topics.items()
            },
            "messages": self.receipts,
        }

    def _receive(self) -> None:
        """Run callbacks until the end; they only queue, so that a slow disk delays no receipt."""
        try:
            self._spin()
            self._drain()
        except Exception as error:
            self._failure = error
        finally:
            self._queue.close()

    def _spin(self) -> None:
        begin = next_look = time.monotonic()
        while not (self.ros.stop.is_set() or self._over.is_set() or self._finished()):
            now = time.monotonic()
            if now >= next_look:
                self._look()
                next_look = now + _LOOK_PERIOD_S[self.ready]
                limit = self.options.wait
                if not self.ready and limit is not None and now - begin > limit:
                    silent = [n for n in self.options.topics if n not in self._raw.topics]
                    what = ", ".join(silent) or "such topics"
                    raise UserError(f"nobody publishes {what} after {limit:g} s")
            self.ros.spin_once(0.05)

    def _finished(self) -> bool:
        options = self.options
        if options.max_frames is not None and self.ready:
            # What is latched comes once and for all: it has no frames to wait for.
            topics = self._raw.topics.items()
            counts = [self._counts[name] for name, topic in topics if not topic.latched]
            if counts and min(counts) >= options.max_frames:
                return True
        if options.until_idle is None or not self._counts:
            return False
        return time.monotonic() - self._last_receipt_s > options.until_idle

    def _drain(self) -> None:
        """Take what reached this process but was not called back yet, and what is on its way."""
        for _ in range(2):
            self._raw.drain(self._over.is_set)
            self.ros.spin_once(0.1)

    def _look(self) -> None:
        """Subscribe what has appeared, and what the pattern finds."""
        for name, msgtype in self.options.topics.items():
            self._raw.look(name, msgtype)
        if self.options.pattern is not None:
            for name, _ in self.ros.node.get_topic_names_and_types():
                hidden = any(part.startswith("_") for part in name.split("/"))
                named = name in self.options.topics
                if not hidden and not named and self.options.pattern.search(name):
                    self._raw.look(name, required=False)
        if not self.ready and self._everything_subscribed():
            self.ready = True
            print(f"recording {len(self._raw.topics)} topics", flush=True)

    def _everything_subscribed(self) -> bool:
        topics = self._raw.topics
        complete = all(name in topics for name in self.options.topics)
        return complete and bool(topics) and self._raw.matched()

    def _take(self, name: str, data: bytes) -> None:
        receipt_ns, bag_time_ns = time.monotonic_ns(), time.time_ns()
        self._last_receipt_s = receipt_ns / 1e9
        topic = self._raw.topics[name]
        if name not in self._counts:
            self._counts[name] = 0
            bag_types.learn_installed(self._writer.store, topic.type, get_package_share_directory)
            qos = recorded_qos(topic.infos)
            self._queue.put(0, partial(self._writer.add_topic, name, topic.type, qos))
        if not self._queue.put(len(data), partial(self._writer.write, name, bag_time_ns, data)):
            self.lost += 1
            if self.lost == 1:
                _say(f"the disk is too slow for {name}: messages are lost from now on")
            return
        self._counts[name] += 1
        if self.options.keep_receipts:
            stamped = bag_types.has_header(self._writer.store, topic.type)
            self.receipts.append(
                {
                    "topic": name,
                    "stamp_ns": bag_types.stamp_ns(data) if stamped else None,
                    "receipt_ns": receipt_ns,
                    "bag_time_ns": bag_time_ns,
                    "bytes": len(data),
                }
            )


def _say(text: str) -> None:
    print(f"recorder: {text}", file=sys.stderr, flush=True)
