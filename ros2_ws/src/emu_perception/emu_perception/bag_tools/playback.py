"""Play a bag over ROS 2: pacing, recorded QoS, and lock-step with the nodes that answer."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rclpy.duration import Duration
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock

from emu_core.bags.reader import Bag, Message
from emu_core.bags.types import stamp_ns
from emu_perception.bag_tools.disk_queue import Received
from emu_perception.bag_tools.topics import (
    RawTopics,
    message_class,
    name_problem,
    publishers,
    writer_qos,
)
from emu_perception.errors import UserError
from emu_perception.ros.command_line import absolute
from emu_perception.ros.ros_process import RosProcess

_CLOCK_PERIOD_S = 0.025
_PROGRESS_PERIOD_S = 10.0
_NS = 1_000_000_000


@dataclass(frozen=True)
class PlaybackOptions:
    """What to play, and how; see the help of `player`.

    Topics in `lock_step` and values of `remap` are names in the running system, all others names
    in the bag, with or without the slash at their beginning.
    """

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
    """Due times of messages: bag time from `begin_ns` on, at `rate` bag seconds per second."""

    def __init__(self, rate: float, begin_ns: int) -> None:
        self.rate = rate
        self._begin_ns = begin_ns
        self._begin_s = time.monotonic()

    def ahead_s(self, time_ns: int) -> float:
        """Seconds until the message of this bag time is due; negative if it is late."""
        return self._begin_s + (time_ns - self._begin_ns) / _NS / self.rate - time.monotonic()

    def postpone(self, late_s: float) -> None:
        """Delay the rest by a positive lateness, so that it is not played faster to catch up."""
        self._begin_s += max(0.0, late_s)


class Answers:
    """Receives the answers to the image that was published last.

    `received` maps each topic to the time of its first message with the image's stamp, or None.
    `late` counts messages with another stamp.
    """

    def __init__(self, ros: RosProcess, topics: Sequence[str], wait_s: float) -> None:
        self.late = 0
        self.received: dict[str, int | None] = dict.fromkeys(topics)
        self._stamp_ns: int | None = None
        self.topics = RawTopics(ros.node, self._take, log)
        if not ros.spin_until(lambda: all(publishers(ros.node, t) for t in topics), wait_s):
            if ros.stop.is_set():
                return
            silent = [topic for topic in topics if not publishers(ros.node, topic)]
            raise UserError(
                f"no publisher of {', '.join(silent)} after {wait_s:g} s: is the node that "
                "answers running and active, and are these its topics?"
            )
        for topic in topics:
            msgtype = publishers(ros.node, topic)[0].topic_type
            self.topics.look(topic, msgtype)
            if not self.topics[topic].stamped:
                raise UserError(f"{topic} cannot answer in lock-step: {msgtype} has no header")

    def expect(self, stamp_ns: int) -> None:
        """Collect answers to the image with this stamp from now on."""
        self._stamp_ns = stamp_ns
        self.received = dict.fromkeys(self.received)

    def complete(self) -> bool:
        """Whether every topic has answered."""
        return None not in self.received.values()

    def _take(self, message: Received) -> None:
        if stamp_ns(message.data) != self._stamp_ns:
            self.late += 1
        elif self.received[message.topic] is None:
            self.received[message.topic] = message.time_ns


class Playback:
    """Plays an open bag.

    `image` is the image topic in the bag. `shown` counts the images published so far, `unanswered`
    those that were not answered in lock-step.

    Raises:
        BagError: The bag lacks a topic of the options, or images.
    """

    def __init__(self, ros: RosProcess, bag: Bag, options: PlaybackOptions) -> None:
        topics = [bag.topic_name(topic) for topic in options.topics]
        remap = {bag.topic_name(topic): name for topic, name in options.remap.items()}
        bag.require((*topics, *remap))
        options = replace(options, topics=topics, remap=remap)
        self.ros, self.bag, self.options = ros, bag, options
        self.image = bag.image_topic(options.image, options.topics)
        self.shown = self.unanswered = 0
        self._frames: list[dict] = []
        self._counts: Counter[str] = Counter()
        self._skipped: dict[str, str] = {}
        self._answers: Answers | None = None
        self._publishers: dict[str, Publisher] = {}
        self._clock: Publisher | None = None
        self._latched: set[tuple[str, int]] = set()
        self._schedule: Schedule | None = None
        self._reported_s = time.monotonic()

    def run(self) -> None:
        """Play until the end, the last of `frames`, SIGINT or SIGTERM.

        Raises:
            UserError: A required topic has no publisher or subscriber.
            BagError: The bag is damaged.
        """
        options = self.options
        if options.lock_step:
            self._answers = Answers(self.ros, options.lock_step, options.wait)
        self._create_publishers()
        self._wait_for_subscribers()
        start_ns = self.bag.start_ns + round(options.start * _NS)
        if start_ns > self.bag.end_ns:
            seconds = (self.bag.end_ns - self.bag.start_ns) / _NS
            raise UserError(f"--start {options.start:g} exceeds the bag's {seconds:.3f} s")
        self._publish_latched(start_ns)
        while not self._done():
            self._play_once(start_ns)
            if not options.loop:
                break
        for publisher in filter(None, (*self._publishers.values(), self._clock)):
            if not self.ros.stop.is_set():
                publisher.wait_for_all_acked(Duration(seconds=2))

    def report(self) -> dict:
        """Totals, and with `keep_frames` publish and answer times of every image; for JSON.

        Times are `time.monotonic_ns()`, which all processes of a machine share.
        """
        answers = self._answers
        return {
            "bag": str(self.bag.path),
            "image_topic": self._live(self.image),
            "lock_step": list(self.options.lock_step),
            "interrupted": self.ros.stop.is_set(),
            "totals": {
                "frames": self.shown,
                "answered": self.shown - self.unanswered if answers else None,
                "unanswered": self.unanswered if answers else None,
                "late_answers": answers.late if answers else None,
                "messages": self._counts,
            },
            "skipped_topics": self._skipped,
            "frames": self._frames,
        }

    def _live(self, topic: str) -> str:
        return absolute(self.options.remap.get(topic, topic))

    def _create_publishers(self) -> None:
        options, names = self.options, dict[str, str]()
        for topic in self.bag.topics.values():
            kind = message_class(topic.type)
            if options.topics and topic.name not in options.topics:
                continue
            if self._live(topic.name) in options.lock_step:
                self._skipped[topic.name] = "it is expected as an answer"
            elif topic.name == "/clock" and options.clock:
                self._skipped[topic.name] = "--clock publishes another one"
            elif kind is None:
                self._skipped[topic.name] = f"{topic.type} is not installed here"
            elif problem := name_problem(self._live(topic.name)):
                self._skipped[topic.name] = f"{problem}; --remap it"
            elif other := names.get(self._live(topic.name)):
                self._skipped[topic.name] = f"{other} is played under this name"
            else:
                qos = writer_qos(topic.qos, lossless=bool(options.lock_step))
                names[self._live(topic.name)] = topic.name
                publisher = self.ros.node.create_publisher(kind, self._live(topic.name), qos)
                self._publishers[topic.name] = publisher
        self._skipped.update(self.bag.left_out)
        if self._skipped:
            reasons = ", ".join(f"{name} ({reason})" for name, reason in self._skipped.items())
            log(f"not played: {reasons}")
        if self.image not in self._publishers:
            raise UserError(
                f"the image topic {self.image} cannot be played: {self._skipped[self.image]}"
            )
        if options.clock:
            self._clock = self.ros.node.create_publisher(Clock, "/clock", 10)

    def _wait_for_subscribers(self) -> None:
        answers, image = self._answers, self._publishers[self.image]
        wanted = self.options.wait_for_subscribers
        wanted = int(answers is not None) if wanted is None else wanted

        def ready() -> bool:
            connected = answers is None or answers.topics.matched()
            return connected and image.get_subscription_count() >= wanted

        if not self.ros.spin_until(ready, self.options.wait) and not self.ros.stop.is_set():
            raise UserError(
                f"{self._live(self.image)} has {image.get_subscription_count()} of {wanted} "
                f"subscribers after {self.options.wait:g} s: start the node that reads the "
                "images, or --remap the topic to its name"
            )

    def _publish_latched(self, start_ns: int) -> None:
        """Publish latched messages from before the start, or else each topic's first one."""
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
            self._wait_until_due(message.time_ns)
            if self.ros.stop.is_set():
                return
            self._publish_clock(message.time_ns)
            if message.topic == self.image:
                self._show(message)
            else:
                self._publish(message)
            if self._done():
                return

    def _done(self) -> bool:
        enough = self.options.frames is not None and self.shown >= self.options.frames
        return enough or self.ros.stop.is_set()

    def _wait_until_due(self, time_ns: int) -> None:
        """Sleep until a message is due; lock-step without a rate does not wait."""
        schedule = self._schedule
        while schedule and (ahead := schedule.ahead_s(time_ns)) > 0 and not self.ros.stop.is_set():
            self._publish_clock(time_ns - round(ahead * schedule.rate * _NS))
            self.ros.stop.wait(min(ahead, _CLOCK_PERIOD_S) if self._clock else ahead)
        if schedule and self._answers:
            schedule.postpone(-schedule.ahead_s(time_ns))

    def _publish_clock(self, time_ns: int) -> None:
        if self._clock:
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(time_ns, _NS)
            self._clock.publish(message)

    def _publish(self, message: Message) -> None:
        self._publishers[message.topic].publish(message.data)
        self._counts[self._live(message.topic)] += 1

    def _show(self, message: Message) -> None:
        """Publish an image; in lock-step, wait for the answers to it."""
        frame: dict[str, Any] = {
            "stamp_ns": self.bag.stamp_ns(message),
            "bag_time_ns": message.time_ns,
            "publish_ns": time.monotonic_ns(),
            "answers": {},
        }
        answers = self._answers
        if answers:
            answers.expect(frame["stamp_ns"])
        self._publish(message)
        if answers:
            answered = self.ros.spin_until(answers.complete, self.options.timeout)
            frame["answers"] = answers.received
            if not answered and self.ros.stop.is_set():
                return
            if not answered:
                self.unanswered += 1
                silent = ", ".join(t for t, when in answers.received.items() if when is None)
                seconds, nanoseconds = divmod(frame["stamp_ns"], _NS)
                log(
                    f"frame {self.shown} (stamp {seconds}.{nanoseconds:09d}): no answer after "
                    f"{self.options.timeout:g} s on {silent}"
                )
        self.shown += 1
        if self.options.keep_frames:
            self._frames.append(frame)
        period_s = 1.0 if sys.stderr.isatty() else _PROGRESS_PERIOD_S
        if time.monotonic() - self._reported_s > period_s:
            self._reported_s = time.monotonic()
            played = (message.time_ns - self.bag.start_ns) / _NS
            length = (self.bag.end_ns - self.bag.start_ns) / _NS
            log(f"{self.shown} frames, {played:.1f} of {length:.1f} s")


def log(text: str) -> None:
    """Print a line to stderr."""
    print(f"player: {text}", file=sys.stderr, flush=True)
