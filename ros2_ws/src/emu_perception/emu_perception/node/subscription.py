"""Subscriptions to the camera, with the reliability that its publishers offer.

A reliable reader gets nothing from a best-effort publisher, and a best-effort reader may lose
images of a reliable one. So a source starts reliable and subscribes again whenever the publishers
call for the other: when the middleware reports incompatible QoS, and on a look at the graph per
second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import (
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

from emu_perception.errors import UserError
from emu_perception.node.parameters import WRONG_QOS
from emu_perception.ros.distro import with_events

DEPTH = 5  # messages that may arrive while the executor is busy
_AUTOMATIC = "automatic"
_RELIABILITY = {
    "reliable": ReliabilityPolicy.RELIABLE,
    "best_effort": ReliabilityPolicy.BEST_EFFORT,
}
_IN_WORDS = {policy: name.replace("_", " ") for name, policy in _RELIABILITY.items()}


@dataclass(frozen=True)
class Sender:
    """Somebody who publishes a source's topic, and why nothing comes from there, if so."""

    node: str
    reliability: str
    obstacle: str

    def __str__(self) -> str:
        return f"{self.node} ({self.reliability}{self.obstacle and f'; {self.obstacle}'})"


class Source:
    """Passes every message of a topic to `take`, in the executor's thread.

    `name` is the topic's before it is remapped, the attribute `topic` the full name after. `lost`
    gets the number of messages that the middleware missed. `adapt` wants to be called once a
    second. The parameter `qos_overrides.TOPIC.subscription.reliability` fixes the reliability.
    UserError for a wrong value of this or another of the `qos_overrides`.
    """

    def __init__(
        self,
        node: Node,
        kind: type,
        name: str,
        take: Callable[[Any], None],
        lost: Callable[[int], None] = lambda count: None,
    ) -> None:
        # Not remapped by us: rclpy would do it again, which undoes an exchange of two names.
        self._name, self.topic = name, node.resolve_topic_name(name)
        self._node, self._kind, self._take, self._lost = node, kind, take, lost
        # The node's own group remembers all that was ever in it.
        self._group = MutuallyExclusiveCallbackGroup()
        try:
            self._fixed = self._overridden()
            self._reliability = self._fixed or ReliabilityPolicy.RELIABLE
            self._subscription = self._subscribe()
        except WRONG_QOS as error:
            raise UserError(f"{self.topic} cannot be subscribed to: {error}") from error
        # A subscription is not destroyed inside its own event's callback, but soon after.
        self._soon = node.create_guard_condition(self.adapt, callback_group=self._group)

    def close(self) -> None:
        """Take no more messages."""
        # An executor remembers the subscription it served last, and so all that `take` leads to.
        self._take = self._lost = _ignore
        self._node.destroy_guard_condition(self._soon)
        self._node.destroy_subscription(self._subscription)

    def senders(self) -> list[Sender]:
        """All who publish the topic now."""
        return [
            Sender(
                f"{info.node_namespace.rstrip('/')}/{info.node_name}",
                _IN_WORDS.get(info.qos_profile.reliability, "of unknown reliability"),
                self._obstacle(info),
            )
            for info in self._node.get_publishers_info_by_topic(self._name)
        ]

    def adapt(self) -> None:
        """Subscribe again, if the publishers offer another reliability."""
        offers = {
            info.qos_profile.reliability
            for info in self._node.get_publishers_info_by_topic(self._name)
        }
        if self._fixed is not None or not offers:
            return
        lossy = ReliabilityPolicy.BEST_EFFORT in offers
        wanted = ReliabilityPolicy.BEST_EFFORT if lossy else ReliabilityPolicy.RELIABLE
        if wanted == self._reliability:
            return
        self._reliability = wanted
        self._node.destroy_subscription(self._subscription)
        self._subscription = self._subscribe()
        word = _IN_WORDS[wanted]
        consequence = " (messages may be lost under load)" if lossy else ""
        self._node.get_logger().warning(
            f"{self.topic} is published {word}: subscribed again as {word}{consequence}"
        )

    def _overridden(self) -> ReliabilityPolicy | None:
        name = f"qos_overrides.{self.topic}.subscription.reliability"
        choices = ", ".join([_AUTOMATIC, *_RELIABILITY])
        if not self._node.has_parameter(name):  # else this topic was subscribed to before
            descriptor = ParameterDescriptor(description=f"one of {choices}", read_only=True)
            self._node.declare_parameter(name, _AUTOMATIC, descriptor)
        value = self._node.get_parameter(name).value
        if value != _AUTOMATIC and value not in _RELIABILITY:
            raise UserError(f"parameter {name}: expected one of {choices}, but got {value!r}")
        return _RELIABILITY.get(value)

    def _subscribe(self) -> Any:
        return with_events(
            lambda events: self._node.create_subscription(
                self._kind,
                self._name,
                self._pass_on,
                QoSProfile(depth=DEPTH, reliability=self._reliability),
                callback_group=self._group,
                event_callbacks=events,
                qos_overriding_options=QoSOverridingOptions(
                    (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.DURABILITY)
                ),
            ),
            incompatible_qos=self._incompatible,
            message_lost=lambda event: self._lost(event.total_count_change),
        )

    def _pass_on(self, message: Any) -> None:
        self._take(message)

    def _incompatible(self, event: Any) -> None:
        if event.last_policy_kind == QoSPolicyKind.RELIABILITY and self._fixed is None:
            self._soon.trigger()
            return
        policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        self._node.get_logger().error(
            f"a publisher of {self.topic} offers a {policy} that this node's excludes: nothing "
            f"comes from it. {self._remedy()}"
        )

    def _obstacle(self, info: Any) -> str:
        """Why nothing comes from a publisher; empty if something should."""
        ours, theirs = _type_name(self._kind), info.topic_type
        if theirs != ours:
            return f"publishes {theirs}, and this node reads {ours}"
        compatible, reason = qos_check_compatible(info.qos_profile, self._subscription.qos_profile)
        if compatible != QoSCompatibility.ERROR:
            return ""
        why = reason.replace("ERROR: ", "").rstrip(";").replace(";", ", ").lower()
        return f"incompatible QoS: {why}. {self._remedy()}"

    def _remedy(self) -> str:
        return (
            f"Change its QoS, or this node's parameters qos_overrides.{self.topic}.subscription.*"
        )


def _ignore(_: Any) -> None:
    """What comes after the end."""


def _type_name(kind: type) -> str:
    """A message class's name as the graph has it, such as sensor_msgs/msg/Image."""
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"
