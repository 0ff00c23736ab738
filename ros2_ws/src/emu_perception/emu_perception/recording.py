"""Recording live topics: raw messages, the QoS that publishers offer, a queue to the disk."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from ament_index_python.packages import get_package_share_directory

from emu_core import bag_types
from emu_core.bag_writer import BagWriter

from .command_line import UserError
from .distro import matched
from .endpoints import READER_DEPTH, message_class, publishers, reader_qos, recorded_qos
from .ros_process import RosProcess

_QUEUE_LIMIT = 512 * 2**20  # bytes that may wait for a slow disk before messages are dropped
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


@dataclass
class _Topic:
    """One subscription: its type and class, the publishers that it suits, and what came."""

    type: str
    kind: Any
    qos: Any
    infos: Sequence[Any]
    subscription: Any
    stamped: bool
    count: int = 0


class Recording:
    """Records once `run` is called: a thread receives and queues, the caller's thread writes."""

    def __init__(self, ros: RosProcess, writer: BagWriter, options: Options) -> None:
        self.ros, self.options = ros, options
        self.topics: dict[str, _Topic] = {}
        self.receipts: list[dict] = []
        self.received = self.lost = 0
        self.ready = False
        self._writer = writer
        self._last_receipt_s = 0.0
        self._refused: set[str] = set()
        self._queue: SimpleQueue = SimpleQueue()
        self._queued_bytes = 0
        self._lock = threading.Lock()
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
            self._write()
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
                "messages": self.received,
                "written": sum(self._writer.counts.values()),
                "lost": self.lost,
            },
            "topics": {n: {"type": t.type, "count": t.count} for n, t in self.topics.items()},
            "messages": self.receipts,
        }

    def _write(self) -> None:
        """Write what the receiver queues; sqlite3 wants all of it in the thread that opened it."""
        while True:
            try:
                job = self._queue.get(timeout=1.0)
            except Empty:
                self._writer.flush()
                continue
            if job is None:
                return
            size, write = job
            write()
            with self._lock:
                self._queued_bytes -= size

    def _receive(self) -> None:
        """Run callbacks until the end; they only queue, so that a slow disk delays no receipt."""
        try:
            self._spin()
            self._drain()
        except Exception as error:
            self._failure = error
        finally:
            self._queue.put(None)

    def _spin(self) -> None:
        begin = next_look = time.monotonic()
        while not (self.ros.stop.is_set() or self._over.is_set() or self._finished()):
            now = time.monotonic()
            if now >= next_look:
                self._look()
                next_look = now + _LOOK_PERIOD_S[self.ready]
                limit = self.options.wait
                if not self.ready and limit is not None and now - begin > limit:
                    silent = [name for name in self.options.topics if name not in self.topics]
                    what = ", ".join(silent) or "such topics"
                    raise UserError(f"nobody publishes {what} after {limit:g} s")
            self.ros.spin_once(0.05)

    def _finished(self) -> bool:
        options = self.options
        if options.max_frames is not None and self.ready:
            # What is latched comes once and for all: it has no frames to wait for.
            counts = [t.count for t in self.topics.values() if not _latched(t)]
            if counts and min(counts) >= options.max_frames:
                return True
        if options.until_idle is None or not self.received:
            return False
        return time.monotonic() - self._last_receipt_s > options.until_idle

    def _drain(self) -> None:
        """Take what reached this process but was not called back yet, and what is on its way."""
        for _ in range(2):
            for name, topic in self.topics.items():
                for _ in range(READER_DEPTH):
                    with topic.subscription.handle:
                        taken = topic.subscription.handle.take_message(topic.kind, True)
                    if taken is None or self._over.is_set():
                        break
                    self._take(name, taken[0])
            self.ros.spin_once(0.1)

    def _look(self) -> None:
        """Subscribe what has appeared, and anew where publishers offer another QoS than before."""
        wanted = dict(self.options.topics)
        if self.options.pattern is not None:
            for name, types in self.ros.node.get_topic_names_and_types():
                hidden = any(part.startswith("_") for part in name.split("/"))
                if not hidden and self.options.pattern.search(name):
                    wanted.setdefault(name, types[0] if publishers(self.ros.node, name) else None)
        for name, given in wanted.items():
            infos = publishers(self.ros.node, name)
            msgtype = given or (infos[0].topic_type if infos else None)
            if msgtype is not None and name not in self._refused:
                self._subscribe(name, msgtype, infos)
        if not self.ready and self._everything_subscribed():
            self.ready = True
            print(f"recording {len(self.topics)} topics", flush=True)

    def _everything_subscribed(self) -> bool:
        complete = all(name in self.topics for name in self.options.topics)
        found = all(matched(t.subscription) for t in self.topics.values() if t.infos)
        return complete and bool(self.topics) and found

    def _subscribe(self, name: str, msgtype: str, infos: Sequence[Any]) -> None:
        known = self.topics.get(name)
        qos = reader_qos(infos)
        if known is not None:
            if not infos or qos == known.qos:
                return
            self.ros.node.destroy_subscription(known.subscription)
        kind = message_class(msgtype)
        if kind is None:
            problem = f"{name} cannot be recorded: {msgtype} is not installed here"
            if name in self.options.topics:
                raise UserError(f"{problem}; install the package {msgtype.partition('/')[0]}")
            self._refused.add(name)
            _say(problem)
            return
        bag_types.learn_installed(self._writer.store, msgtype, get_package_share_directory)
        subscription = self.ros.node.create_subscription(
            kind, name, partial(self._take, name), qos, raw=True
        )
        stamped = bag_types.has_header(self._writer.store, msgtype)
        count = known.count if known else 0
        self.topics[name] = _Topic(msgtype, kind, qos, infos, subscription, stamped, count)

    def _take(self, name: str, data: bytes) -> None:
        receipt_ns, bag_time_ns = time.monotonic_ns(), time.time_ns()
        self._last_receipt_s = receipt_ns / 1e9
        topic = self.topics[name]
        with self._lock:
            full = self._queued_bytes + len(data) > _QUEUE_LIMIT
            self._queued_bytes += 0 if full else len(data)
        if full:
            self.lost += 1
            if self.lost == 1:
                _say(f"the disk is too slow for {name}: messages are lost from now on")
            return
        if topic.count == 0:
            qos = recorded_qos(topic.infos)
            self._queue.put((0, partial(self._writer.add_topic, name, topic.type, qos)))
        topic.count += 1
        self.received += 1
        self._queue.put((len(data), partial(self._writer.write, name, bag_time_ns, data)))
        if self.options.keep_receipts:
            self.receipts.append(
                {
                    "topic": name,
                    "stamp_ns": bag_types.stamp_ns(data) if topic.stamped else None,
                    "receipt_ns": receipt_ns,
                    "bag_time_ns": bag_time_ns,
                    "bytes": len(data),
                }
            )


def _latched(topic: _Topic) -> bool:
    return topic.qos.durability.name == "TRANSIENT_LOCAL"


def _say(text: str) -> None:
    print(f"recorder: {text}", file=sys.stderr, flush=True)
