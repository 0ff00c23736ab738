"""Types and QoS of topics: what others offer, what a reader asks for, what a bag remembers."""

from __future__ import annotations

from collections.abc import Sequence
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

from emu_core.bag_writer import offered

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
