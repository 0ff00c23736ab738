"""Subscriptions to raw messages, with the types and QoS that the publishers offer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from rclpy.duration import Duration
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rclpy.validate_full_topic_name import validate_full_topic_name
from rosbags import interfaces as bag

from emu_core.bags.writer import offered
from emu_perception.bag_tools.disk_queue import Received
from emu_perception.errors import UserError
from emu_perception.ros.distro import matched, with_events
from emu_perception.ros.qos import offered_by_all

READER_DEPTH = 100
"""Messages of a topic that may wait for the callback."""

_DEFAULT_DEPTH = 10  # rosbag2 records depth 0, because DDS does not announce the history
_FOREVER_S = 2147483647  # durations from here on mean infinity (rmw and Fast DDS differ)


@dataclass(frozen=True)
class RawTopic:
    """Subscribed topic, with the publishers whose offers its QoS was chosen for."""

    msgtype: str
    message_class: type[Any]
    qos: QoSProfile
    publishers: Sequence[TopicEndpointInfo]
    subscription: Subscription

    @property
    def stamped(self) -> bool:
        """Whether its messages begin with a std_msgs/Header."""
        fields = self.message_class.get_fields_and_field_types()
        return next(iter(fields.values()), None) == "std_msgs/Header"

    @property
    def latched(self) -> bool:
        """Whether the subscription also receives what was published before."""
        return self.qos.durability == DurabilityPolicy.TRANSIENT_LOCAL


class RawTopics(dict[str, RawTopic]):
    """Subscribed topics by name; the executor's thread calls `take` with every message.

    `received` counts all messages, `lost` those of each topic that were lost in transport, as far
    as the middleware reports them.
    """

    def __init__(
        self, node: Node, take: Callable[[Received], None], warn: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._node, self._take, self._warn = node, take, warn
        self._refused: set[str] = set()
        self.received = 0
        self.lost: Counter[str] = Counter()

    def look(self, name: str, given: str | None = None, *, required: bool = True) -> None:
        """Subscribe to a topic that has appeared; again if its publishers offer another QoS.

        `given` is the type; None to ask the publishers.

        Raises:
            UserError: The type is not installed. If it is not `required`, that is logged once.
        """
        infos = publishers(self._node, name)
        msgtype = given or (infos[0].topic_type if infos else None)
        if msgtype is None or name in self._refused:
            return
        qos = reader_qos(infos)
        if name in self:
            if not infos or qos == self[name].qos:
                return
            self._node.destroy_subscription(self[name].subscription)
        kind = message_class(msgtype)
        if kind is None:
            problem = f"cannot subscribe to {name}: {msgtype} is not installed here"
            if required:
                raise UserError(f"{problem}; install the package {msgtype.partition('/')[0]}")
            self._refused.add(name)
            self._warn(problem)
            return
        receive = partial(self._receive, name)
        subscription = with_events(
            lambda events: self._node.create_subscription(
                kind, name, receive, qos, raw=True, event_callbacks=events
            ),
            message_lost=partial(self._count_lost, name),
        )
        self[name] = RawTopic(msgtype, kind, qos, infos, subscription)

    def matched(self) -> bool:
        """Whether every subscription whose topic had publishers is connected to one."""
        return all(matched(topic.subscription) for topic in self.values() if topic.publishers)

    def drain(self, enough: Callable[[], bool]) -> None:
        """Take messages that have arrived but wait for their callback, until it is enough."""
        for name, topic in self.items():
            for _ in range(READER_DEPTH):
                with topic.subscription.handle:
                    taken = topic.subscription.handle.take_message(topic.message_class, True)
                if taken is None or enough():
                    break
                self._receive(name, taken[0])

    def _count_lost(self, name: str, count: int) -> None:
        if name not in self.lost:
            self._warn(f"messages of {name} were lost in transport, before they arrived here")
        self.lost[name] += count

    def _receive(self, name: str, data: bytes) -> None:
        times = time.monotonic_ns(), time.time_ns()
        self.received += 1
        self._take(Received(name, *times, data, self[name].latched))


def message_class(msgtype: str) -> type[Any] | None:
    """Class of a type such as "sensor_msgs/msg/Image"; None if it is not installed."""
    package, _, name = msgtype.partition("/msg/")
    if not (package.isidentifier() and name.isidentifier()):  # a bag may name any type
        return None
    try:
        found = getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if isinstance(found, type) else None


def name_problem(topic: str) -> str | None:
    """Why ROS 2 forbids the full name of a topic; None if it allows it."""
    try:
        validate_full_topic_name(topic)
    except (InvalidTopicNameException, ValueError) as error:  # ValueError: a null character
        reason = str(error).splitlines()[0].removeprefix("Invalid topic name: ").rstrip(":")
        return f"ROS 2 forbids this name: {reason}"
    return None


def publishers(node: Node, topic: str) -> list[TopicEndpointInfo]:
    """Publishers of a topic in other nodes."""
    own = (node.get_name(), node.get_namespace())
    infos = node.get_publishers_info_by_topic(topic)
    return [info for info in infos if (info.node_name, info.node_namespace) != own]


def reader_qos(infos: Sequence[TopicEndpointInfo]) -> QoSProfile:
    """QoS that receives from all these publishers, see `offered_by_all`."""
    followed = offered_by_all(info.qos_profile for info in infos)
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=READER_DEPTH, **followed)


def writer_qos(recorded: Sequence[bag.Qos], *, lossless: bool) -> QoSProfile:
    """QoS that replays what a topic's publishers offered when they were recorded.

    It keeps reliability, durability, depth and deadline, and serves the readers of all recorded
    publishers. `lossless` makes it reliable in any case, which every reader accepts.
    """
    lossy = recorded and all(p.reliability is bag.QosReliability.BEST_EFFORT for p in recorded)
    latched = any(p.durability is bag.QosDurability.TRANSIENT_LOCAL for p in recorded)
    depth = sum(p.depth for p in recorded if p.history is bag.QosHistory.KEEP_LAST)
    if lossless and not latched:
        depth = max(depth, _DEFAULT_DEPTH)
    qos = _profile(depth or _DEFAULT_DEPTH, reliable=lossless or not lossy, latched=latched)
    deadlines = [p.deadline for p in recorded if any(p.deadline) and p.deadline.sec < _FOREVER_S]
    if deadlines:
        qos.deadline = Duration(seconds=min(deadlines).sec, nanoseconds=min(deadlines).nsec)
    return qos


def recorded_qos(infos: Sequence[TopicEndpointInfo]) -> list[bag.Qos]:
    """Profiles of these publishers in a bag's form (no publisher: the default profile)."""
    return [_to_bag(info.qos_profile) for info in infos] or [offered()]


def _profile(depth: int, *, reliable: bool, latched: bool) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _to_bag(qos: QoSProfile) -> bag.Qos:
    durations = (qos.deadline, qos.lifespan, qos.liveliness_lease_duration)
    deadline, lifespan, lease = (
        bag.QosTime(*divmod(duration.nanoseconds, 1_000_000_000)) for duration in durations
    )
    return bag.Qos(
        bag.QosHistory(int(qos.history)),
        qos.depth,
        bag.QosReliability(int(qos.reliability)),
        bag.QosDurability(int(qos.durability)),
        deadline,
        lifespan,
        bag.QosLiveliness(int(qos.liveliness)),
        lease,
        qos.avoid_ros_namespace_conventions,
    )
