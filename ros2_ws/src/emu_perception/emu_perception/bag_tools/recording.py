"""Record live topics: a second thread receives messages, the caller's thread writes them.

`Recording` is the mechanism. Its subclasses decide what is written: `BagRecording` writes every
message into one bag, `record_uncertain` the seconds around uncertain frames.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ament_index_python.packages import get_package_share_directory

from emu_core.bags.types import register_installed, stamp_ns
from emu_core.bags.writer import BagWriter
from emu_perception.bag_tools.disk_queue import QUEUE_BYTES, DiskQueue, Received
from emu_perception.bag_tools.topics import RawTopics, recorded_qos
from emu_perception.errors import UserError
from emu_perception.ros.ros_process import RosProcess


class Recording:
    """Subscribes to topics and writes bags; a slow disk delays no receipt.

    `warn` logs a warning; `queue_bytes` limits the messages that wait for the disk.
    """

    look_period_s = 1.0
    """Time between two looks at the ROS graph."""

    def __init__(
        self, ros: RosProcess, warn: Callable[[str], None], queue_bytes: int = QUEUE_BYTES
    ) -> None:
        self.ros = ros
        self.topics = RawTopics(ros.node, self.take, warn)
        self.queue = DiskQueue(queue_bytes)
        self._over = threading.Event()
        self._failure: Exception | None = None

    def look(self) -> None:
        """Subscribe to the topics to record that exist now."""
        raise NotImplementedError

    def take(self, message: Received) -> None:
        """Process a message in the receiving thread: compute, and put jobs into `queue`."""
        raise NotImplementedError

    def tick(self) -> None:
        """Called after every callback, and at least every 50 ms."""

    def finished(self) -> bool:
        """Whether to end the recording."""
        return False

    def finish(self) -> None:
        """Queue the last jobs, after the last message."""

    def idle(self) -> None:
        """Called in the writing thread after a second without a job."""

    def run(self) -> None:
        """Record until SIGINT, SIGTERM or `finished`.

        Raises:
            UserError: A required topic cannot be recorded.
            BagError: A bag could not be written; it holds the messages before.
        """
        receiver = threading.Thread(target=self._receive, name="receiver")
        receiver.start()
        try:
            # Not in the other thread: SQLite binds a bag to the thread that opened it.
            self.queue.run(self.idle)
        finally:
            self._over.set()
            receiver.join()
        if self._failure is not None:
            raise self._failure

    def write(self, writer: BagWriter, message: Received) -> None:
        """Write a message, in the writing thread, with its topic's type and QoS if it is new."""
        if message.topic not in writer.counts:
            topic = self.topics[message.topic]
            register_installed(writer.store, topic.msgtype, get_package_share_directory)
            writer.add_topic(message.topic, topic.msgtype, recorded_qos(topic.publishers))
        writer.write(message.topic, message.bag_time_ns, message.data)

    def _receive(self) -> None:
        try:
            self._spin()
        except Exception as error:
            self._failure = error
        finally:
            self.finish()
            self.queue.close()

    def _spin(self) -> None:
        next_look_s = 0.0
        while not (self.ros.stop.is_set() or self._over.is_set() or self.finished()):
            if time.monotonic() >= next_look_s:
                self.look()
                next_look_s = time.monotonic() + self.look_period_s
            self.ros.spin_once(0.05)
            self.tick()
        self._receive_rest(_REST_S if self.ros.stop.is_set() else _QUIET_S)

    def _receive_rest(self, longest_s: float) -> None:
        """Receive what was published before the end.

        It may wait for its callback, or be on its way: no reader knows that, and on a busy
        computer messages arrive late. So this ends when none has arrived for a while; publishers
        that go on are never quiet.
        """
        count = -1
        quiet_s = end_s = time.monotonic() + longest_s
        while not self._over.is_set() and time.monotonic() < min(quiet_s, end_s):
            if self.topics.received != count:
                count, quiet_s = self.topics.received, time.monotonic() + _QUIET_S
            self.topics.drain(self._over.is_set)
            self.ros.spin_once(0.02)  # also for reports of lost messages


_QUIET_S, _REST_S = 0.3, 1.0
"""Time without a message after which nothing more is expected, and the longest time for the last
messages after a signal. After the recording's own limits, the longest time is the first one."""

_SETTLING_S = 0.5
"""Time for the publishers to find the subscriptions, which have found them; what a publisher sends
before is lost, and nothing tells that."""


@dataclass(frozen=True)
class RecordingOptions:
    """What `BagRecording` records, and when it ends; see the help of `recorder`.

    `topics` maps names to types (None: ask the publishers).
    """

    topics: dict[str, str | None] = field(default_factory=dict)
    pattern: re.Pattern | None = None
    max_frames: int | None = None
    until_idle: float | None = None
    wait: float | None = None
    keep_receipts: bool = False


class BagRecording(Recording):
    """Writes every message of the selected topics into one bag."""

    look_period_s = 0.1  # until all topics are subscribed

    def __init__(self, ros: RosProcess, writer: BagWriter, options: RecordingOptions) -> None:
        super().__init__(ros, log)
        self._lost_by_disk = 0
        self._writer, self._options = writer, options
        self._receipts: list[dict] = []
        self._counts: Counter[str] = Counter()
        self._begin_s = time.monotonic()
        self._last_receipt_s = 0.0
        self._ready, self._matched_s = False, 0.0

    def look(self) -> None:
        """Subscribe to new topics; report once that all required ones are subscribed."""
        options = self._options
        for name, msgtype in options.topics.items():
            self.topics.look(name, msgtype)
        if options.pattern is not None:
            for name, _ in self.ros.node.get_topic_names_and_types():
                hidden = any(part.startswith("_") for part in name.split("/"))
                if not hidden and name not in options.topics and options.pattern.search(name):
                    self.topics.look(name, required=False)
        if self._ready:
            return
        missing = [name for name in options.topics if name not in self.topics]
        if not missing and self.topics and self.topics.matched():
            self._matched_s = self._matched_s or time.monotonic()
            if time.monotonic() - self._matched_s >= _SETTLING_S:
                self._ready, self.look_period_s = True, Recording.look_period_s
                print(f"recording {len(self.topics)} topics", flush=True)
        elif options.wait is not None and time.monotonic() - self._begin_s > options.wait:
            names = ", ".join(missing) or "such topics"
            raise UserError(f"no publisher of {names} after {options.wait:g} s")

    def take(self, message: Received) -> None:
        """Queue a message, or count it as lost if the disk is too slow."""
        self._last_receipt_s = message.time_ns / 1e9
        if self.queue.put(len(message.data), partial(self._write, message)):
            self._counts[message.topic] += 1
            return
        self._lost_by_disk += 1
        if self._lost_by_disk == 1:
            log(f"the disk is too slow for {message.topic}: messages are lost from now on")

    def finished(self) -> bool:
        options = self._options
        if options.max_frames is not None and self._ready:
            counts = [self._counts[name] for name, t in self.topics.items() if not t.latched]
            # Some cameras publish all topics latched, and camera_info only once.
            counts = counts or [max(self._counts.values(), default=0)]
            if min(counts) >= options.max_frames:
                return True
        if options.until_idle is None or not self._counts:
            return False
        return time.monotonic() - self._last_receipt_s > options.until_idle

    def idle(self) -> None:
        self._writer.flush()

    def report(self) -> dict:
        """Totals, and with `keep_receipts` the stamp and times of every message; for JSON.

        `receipt_ns` is `time.monotonic_ns()`, which all processes of a machine share.
        """
        return {
            "bag": str(self._writer.path),
            "totals": {
                "messages": sum(self._counts.values()),
                "written": sum(self._writer.counts.values()),
                "lost": self._lost_by_disk,
                "lost_in_transport": sum(self.topics.lost.values()),
            },
            "topics": {
                name: {"type": topic.msgtype, "count": self._counts[name]}
                for name, topic in self.topics.items()
            },
            "messages": self._receipts,
        }

    def _write(self, message: Received) -> None:
        self.write(self._writer, message)
        if self._options.keep_receipts:
            stamped = self.topics[message.topic].stamped
            receipt = {
                "topic": message.topic,
                "stamp_ns": stamp_ns(message.data) if stamped else None,
                "receipt_ns": message.time_ns,
                "bag_time_ns": message.bag_time_ns,
                "bytes": len(message.data),
            }
            self._receipts.append(receipt)


def log(text: str) -> None:
    """Print a line to stderr."""
    print(f"recorder: {text}", file=sys.stderr, flush=True)
