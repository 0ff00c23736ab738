"""Playing a bag over ROS 2: pacing, recorded QoS, and lock-step with the nodes that answer."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from rclpy.duration import Duration
from rosgraph_msgs.msg import Clock

from emu_core.bags import types as bag_types
from emu_core.bags.reader import Bag, Message
from emu_perception.bag_tools.topics import message_class, publishers, reader_qos, writer_qos
from emu_perception.errors import UserError
from emu_perception.ros.distro import matched
from emu_perception.ros.ros_process import RosProcess

_CLOCK_PERIOD_S = 0.025
_PROGRESS_PERIOD_S = 10.0
_NS = 1_000_000_000


@dataclass(frozen=True)
class Options:
    """What to play and how; topics in `lock_step` and right of `remap` are live names."""

    bag: Path
    rate: float | None = None
    loop: bool = False
    lock_step: Sequence[str] = ()
    timeout: float = 10.0
    wait: float = 60.0
    topics: Sequence[str] = ()
    image: str | None = None
    remap: dict[str, str] = field(default_factory=dict)
    clock: bool = False
    start: float = 0.0
    frames: int | None = None
    wait_for_subscribers: int | None = None
    keep_frames: bool = False


class Schedule:
    """When messages are due: bag time from `begin_ns` on, at `rate` bag seconds per second."""

    def __init__(self, rate: float, begin_ns: int) -> None:
        self.rate = rate
        self._begin_ns = begin_ns
        self._begin_s = time.monotonic()

    def ahead_s(self, time_ns: int) -> float:
        """Seconds until the message of this bag time is due; negative if it is late."""
        return self._begin_s + (time_ns - self._begin_ns) / _NS / self.rate - time.monotonic()

    def postpone(self, late_s: float) -> None:
        """Move what is left by a delay (if positive), so that nothing is rushed to catch up."""
        self._begin_s += max(0.0, late_s)


class Answers:
    """When each answer topic delivered a message with the stamp of the image shown last."""

    def __init__(self, ros: RosProcess, topics: Sequence[str], wait_s: float) -> None:
        self.late = 0
        self.received: dict[str, int | None] = dict.fromkeys(topics)
        self._stamp_ns: int | None = None
        self._subscriptions = []
        if not ros.spin_until(lambda: all(publishers(ros.node, t) for t in topics), wait_s):
            if ros.stop.is_set():
                return
            silent = [topic for topic in topics if not publishers(ros.node, topic)]
            raise UserError(
                f"nobody publishes {', '.join(silent)} after {wait_s:g} s: is the node that "
                "answers running (and active), and are these its topics?"
            )
        store = bag_types.typestore()
        for topic in topics:
            infos = publishers(ros.node, topic)
            msgtype = infos[0].topic_type
            kind = message_class(msgtype)
            bag_types.learn_installed(store, msgtype, get_package_share_directory)
            if kind is None or not bag_types.has_header(store, msgtype):
                problem = "not installed here" if kind is None else "without a header stamp"
                raise UserError(f"{topic} cannot answer in lock-step: {msgtype} is {problem}")
            self._subscriptions.append(
                ros.node.create_subscription(
                    kind, topic, partial(self._take, topic), reader_qos(infos), raw=True
                )
            )

    def expect(self, stamp_ns: int) -> None:
        """From now on, collect answers to the image with this stamp."""
        self._stamp_ns = stamp_ns
        self.received = dict.fromkeys(self.received)

    def complete(self) -> bool:
        """Whether every topic answered."""
        return None not in self.received.values()

    def matched(self) -> bool:
        """Whether every subscription found its publisher."""
        return all(map(matched, self._subscriptions))

    def _take(self, topic: str, data: bytes) -> None:
        now = time.monotonic_ns()
        if bag_types.stamp_ns(data) != self._stamp_ns:
            self.late += 1
        elif self.received[topic] is None:
            self.received[topic] = now


class Playback:
    """Plays an open bag once `run` is called; `report` says what became of it."""

    def __init__(self, ros: RosProcess, bag: Bag, options: Options) -> None:
        self.ros, self.bag, self.options = ros, bag, options
        self.frames: list[dict] = []
        self.shown = self.unanswered = 0
        self.counts: dict[str, int] = {}
        self.skipped: dict[str, str] = {}
        unknown = [t for t in (*options.topics, *options.remap) if t not in bag.topics]
        if unknown:
            raise UserError(
                f"{bag.path} has no topic {', '.join(unknown)}; it has: {', '.join(bag.topics)}"
            )
        self.image = bag.image_topic(options.image, options.topics)
        self._answers: Answers | None = None
        self._publishers: dict[str, Any] = {}
        self._clock: Any = None
        self._latched: set[tuple[str, int]] = set()
        self._schedule: Schedule | None = None
        self._progress_s = time.monotonic()

    def run(self) -> None:
        """Play until the end, the last of `frames`, or a wish to stop.

        Raises
        ------
        UserError
            A topic that is needed has no counterpart.
        BagError
            The bag is damaged.
        """
        options = self.options
        if options.lock_step:
            self._answers = Answers(self.ros, options.lock_step, options.wait)
        self._create_publishers()
        self._wait_for_subscribers()
        start_ns = self.bag.start_ns + round(options.start * _NS)
        if start_ns > self.bag.end_ns:
            seconds = (self.bag.end_ns - self.bag.start_ns) / _NS
            raise UserError(f"--start {options.start:g} lies behind the bag's {seconds:.3f} s")
        self._publish_latched(start_ns)
        while not self._done():
            self._play_once(start_ns)
            if not options.loop:
                break
        for publisher in filter(None, (*self._publishers.values(), self._clock)):
            if not self.ros.stop.is_set():
                publisher.wait_for_all_acked(Duration(seconds=2))

    def report(self) -> dict:
        """Totals, and (`keep_frames`) publish and answer times of every image; for JSON.

        Times are `time.monotonic_ns()`, which the processes of one machine share.
        """
        return {
            "bag": str(self.bag.path),
            "image_topic": self._live(self.image),
            "lock_step": list(self.options.lock_step),
            "interrupted": self.ros.stop.is_set(),
            "totals": {
                "frames": self.shown,
                "answered": self.shown - self.unanswered if self._answers else None,
                "unanswered": self.unanswered if self._answers else None,
                "late_answers": self._answers.late if self._answers else None,
                "messages": self.counts,
            },
            "skipped_topics": self.skipped,
            "frames": self.frames,
        }

    def _live(self, topic: str) -> str:
        return self.options.remap.get(topic, topic)

    def _create_publishers(self) -> None:
        for topic in self.bag.topics.values():
            kind = message_class(topic.type)
            if self.options.topics and topic.name not in self.options.topics:
                continue
            if self._live(topic.name) in self.options.lock_step:
                self.skipped[topic.name] = "it is awaited as an answer"
            elif topic.name == "/clock" and self.options.clock:
                self.skipped[topic.name] = "--clock publishes its own"
            elif kind is None:
                self.skipped[topic.name] = f"{topic.type} is not installed here"
            else:
                qos = writer_qos(topic.qos, lossless=bool(self.options.lock_step))
                self._publishers[topic.name] = self.ros.node.create_publisher(
                    kind, self._live(topic.name), qos
                )
        self.skipped.update(
            (name, f"encoded as {encoding}, not CDR")
            for name, encoding in self.bag.left_out.items()
        )
        if self.skipped:
            reasons = ", ".join(f"{name} ({reason})" for name, reason in self.skipped.items())
            _say(f"not played: {reasons}")
        if self.image not in self._publishers:
            raise UserError(f"the image topic {self.image} cannot be played")
        if self.options.clock:
            self._clock = self.ros.node.create_publisher(Clock, "/clock", 10)

    def _wait_for_subscribers(self) -> None:
        wanted = self.options.wait_for_subscribers
        if wanted is None:
            wanted = 1 if self._answers else 0
        image = self._publishers[self.image]

        def ready() -> bool:
            heard = self._answers is None or self._answers.matched()
            return heard and image.get_subscription_count() >= wanted

        if not self.ros.spin_until(ready, self.options.wait) and not self.ros.stop.is_set():
            raise UserError(
                f"{image.get_subscription_count()} of {wanted} subscribers of "
                f"{self._live(self.image)} after {self.options.wait:g} s: start the node that "
                "takes the images, or --remap the topic to its name"
            )

    def _publish_latched(self, start_ns: int) -> None:
        """Show what was latched before the start; else, what a topic latched first later on."""
        names = [n for n in self._publishers if self.bag.topics[n].latched and n != self.image]
        seen = set()
        for message in self.bag.messages(names) if names else ():
            if message.time_ns <= start_ns or message.topic not in seen:
                self._publish(message)
                self._latched.add((message.topic, message.time_ns))
            seen.add(message.topic)
            if message.time_ns > start_ns and len(seen) == len(names):
                break

    def _play_once(self, start_ns: int) -> None:
        rate = self.options.rate or (None if self._answers else 1.0)
        self._schedule = Schedule(rate, start_ns) if rate else None
        for message in self.bag.messages(list(self._publishers), start_ns):
            if (message.topic, message.time_ns) in self._latched:
                continue
            self._pace(message.time_ns)
            if self.ros.stop.is_set():
                return
            self._tick(message.time_ns)
            if message.topic == self.image:
                self._show(message)
            else:
                self._publish(message)
            if self._done():
                return

    def _done(self) -> bool:
        enough = self.options.frames is not None and self.shown >= self.options.frames
        return enough or self.ros.stop.is_set()

    def _pace(self, time_ns: int) -> None:
        """Sleep until a message is due; lock-step without a rate is never early."""
        schedule = self._schedule
        while schedule and (ahead := schedule.ahead_s(time_ns)) > 0 and not self.ros.stop.is_set():
            self._tick(time_ns - round(ahead * schedule.rate * _NS))
            self.ros.stop.wait(min(ahead, _CLOCK_PERIOD_S) if self._clock else ahead)
        if schedule and self._answers:
            schedule.postpone(-schedule.ahead_s(time_ns))

    def _tick(self, time_ns: int) -> None:
        if self._clock:
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(time_ns, _NS)
            self._clock.publish(message)

    def _publish(self, message: Message) -> None:
        self._publishers[message.topic].publish(message.data)
        live = self._live(message.topic)
        self.counts[live] = self.counts.get(live, 0) + 1

    def _show(self, message: Message) -> None:
        """Publish an image; in lock-step, wait for the answers to it."""
        frame: dict[str, Any] = {
            "stamp_ns": self.bag.stamp_ns(message),
            "bag_time_ns": message.time_ns,
            "publish_ns": time.monotonic_ns(),
            "answers": {},
        }
        if self._answers:
            self._answers.expect(frame["stamp_ns"])
        self._publish(message)
        if self._answers:
            answered = self.ros.spin_until(self._answers.complete, self.options.timeout)
            frame["answers"] = self._answers.received
            if not answered and self.ros.stop.is_set():
                return
            if not answered:
                self.unanswered += 1
                silent = [t for t, when in self._answers.received.items() if when is None]
                seconds, nanoseconds = divmod(frame["stamp_ns"], _NS)
                _say(
                    f"frame {self.shown} (stamp {seconds}.{nanoseconds:09d}) unanswered "
                    f"after {self.options.timeout:g} s by {', '.join(silent)}"
                )
        self.shown += 1
        if self.options.keep_frames:
            self.frames.append(frame)
        self._tell_progress(message)

    def _tell_progress(self, message: Message) -> None:
        if time.monotonic() - self._progress_s > (
            1.0 if sys.stderr.isatty() else _PROGRESS_PERIOD_S
        ):
            self._progress_s = time.monotonic()
            done = (message.time_ns - self.bag.start_ns) / _NS
            whole = (self.bag.end_ns - self.bag.start_ns) / _NS
            _say(f"{self.shown} frames, {done:.1f} of {whole:.1f} s")


def _say(text: str) -> None:
    print(f"player: {text}", file=sys.stderr, flush=True)
