"""Subscriptions to topics whose types and QoS are their publishers' affair; messages stay raw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

from emu_core.bags.writer import offered
from emu_perception.errors import UserError
from emu_perception.ros.distro import matched


@dataclass
class RawTopic:
    """One subscription: its type and class, and the publishers that its QoS suits."""

    type: str
    kind: Any
    qos: Any
    infos: Sequence[Any]
    subscription: Any

    @property
    def latched(self) -> bool:
        """Whether what was published before the subscription comes, too."""
        return self.qos.durability == DurabilityPolicy.TRANSIENT_LOCAL


class RawTopics:
    """Passes every message, as raw CDR, to `take(name, data)`, in the executor's thread.

    `say` is told of topics that cannot be subscribed to.
    """

    def __init__(
        self, node: Node, take: Callable[[str, bytes], None], say: Callable[[str], None]
    ) -> None:
        self.topics: dict[str, RawTopic] = {}
        self._node, self._take, self._say = node, take, say
        self._refused: set[str] = set()

    def look(self, name: str, given: str | None = None, *, required: bool = True) -> None:
        """Subscribe a topic that has appeared, and anew where its publishers offer another QoS.

        Parameters
        ----------
        given : its type; None where its publishers tell.
        required : without its type installed, UserError; otherwise that is said, once.
        """
        if name in self._refused:
            return
        infos = publishers(self._node, name)
        msgtype = given or (infos[0].topic_type if infos else None)
        if msgtype is None:
            return
        known = self.topics.get(name)
        qos = reader_qos(infos)
        if known is not None:
            if not infos or qos == known.qos:
                return
            self._node.destroy_subscription(known.subscription)
        kind = message_class(msgtype)
        if kind is None:
            self._refuse(name, msgtype, required)
            return
        subscription = self._node.create_subscription(
            kind, name, partial(self._take, name), qos, raw=True
        )
        self.topics[name] = RawTopic(msgtype, kind, qos, infos, subscription)

    def matched(self) -> bool:
        """Whether every subscription has found a publisher, of those that were there."""
        return all(matched(topic.subscription) for topic in self.topics.values() if topic.infos)

    def drain(self, enough: Callable[[], bool]) -> None:
        """Take what reached this process but was not called back yet, until it is enough."""
        for name, topic in self.topics.items():
            for _ in range(READER_DEPTH):
                with topic.subscription.handle:
                    taken = topic.subscription.handle.take_message(topic.kind, True)
                if taken is None or enough():
                    break
                self._take(name, taken[0])

    def _refuse(self, name: str, msgtype: str, required: bool) -> None:
        problem = f"{name} cannot be recorded: {msgtype} is not installed here"
        if required:
            raise UserError(f"{problem}; install the package {msgtype.partition('/')[0]}")
        self._refused.add(name)
        self._say(problem)


READER_DEPTH = 100  # messages that may wait for a recorder's or an answer's callback
_DEPTH_OF_UNKNOWN = 10  # rosbag2 records depth 0: DDS does not tell others the history
_FOREVER_S = 2147483647  # from this on, a duration means infinity (rmw and Fast DDS differ)


def message_class(msgtype: str) -> Any | None:
    """Class of a type such as "sensor_msgs/msg/Image"; None where it is not installed."""
    package, _, name = msgtype.partition("/msg/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError, ValueError):
        return None


def publishers(node: Node, topic: str) -> list[Any]:
    """Endpoint infos of everybody else who publishes a topic."""
    me = (node.get_name(), node.get_namespace())
    infos = node.get_publishers_info_by_topic(topic)
    return [info for info in infos if (info.node_name, info.node_namespace) != me]


def reader_qos(infos: Sequence[Any]) -> QoSProfile:
    """QoS that receives from all these publishers, and from each as well as they all offer.

    Reliable if all are reliable, transient local if all are (no publisher: reliable, volatile).
    """
    offers = [info.qos_profile for info in infos]
    lossy = any(offer.reliability == ReliabilityPolicy.BEST_EFFORT for offer in offers)
    latched = bool(offers) and all(
        offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers
    )
    return _profile(READER_DEPTH, reliable=not lossy, latched=latched)


def writer_qos(recorded: Sequence[Qos], *, lossless: bool) -> QoSProfile:
    """QoS that replays what a topic's publishers offered when they were recorded.

    Reliability, durability, depth and deadline, and of several publishers what serves the readers
    of each. `lossless` makes it reliable whatever was recorded, which every reader accepts.
    """
    reliable = lossless or any(
        profile.reliability is not QosReliability.BEST_EFFORT
        for profile in recorded or [offered()]
    )
    latched = any(profile.durability is QosDurability.TRANSIENT_LOCAL for profile in recorded)
    depth = sum(p.depth for p in recorded if p.history is QosHistory.KEEP_LAST)
    if lossless and not latched:
        depth = max(depth, _DEPTH_OF_UNKNOWN)
    qos = _profile(depth or _DEPTH_OF_UNKNOWN, reliable=reliable, latched=latched)
    deadlines = [p.deadline for p in recorded if any(p.deadline) and p.deadline.sec < _FOREVER_S]
    if deadlines:
        qos.deadline = Duration(seconds=min(deadlines).sec, nanoseconds=min(deadlines).nsec)
    return qos


def recorded_qos(infos: Sequence[Any]) -> list[Qos]:
    """What a bag notes about these publishers (no publisher: the default profile)."""
    return [_to_bag(info.qos_profile) for info in infos] or [offered()]


def _profile(depth: int, *, reliable: bool, latched: bool) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=(DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE),
    )


def _to_bag(qos: QoSProfile) -> Qos:
    def duration(value: Duration) -> QosTime:
        return QosTime(*divmod(value.nanoseconds, 1_000_000_000))

    return Qos(
        QosHistory(int(qos.history)),
        qos.depth,
        QosReliability(int(qos.reliability)),
        QosDurability(int(qos.durability)),
        duration(qos.deadline),
        duration(qos.lifespan),
        QosLiveliness(int(qos.liveliness)),
        duration(qos.liveliness_lease_duration),
        qos.avoid_ros_namespace_conventions,
    )
