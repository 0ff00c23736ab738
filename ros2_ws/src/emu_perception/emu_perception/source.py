"""Subscriptions to the camera, with the reliability that its publishers offer.

A reliable reader gets nothing from a best-effort publisher, and a best-effort reader may lose
images of a reliable one. So a source starts reliable and subscribes again whenever the publishers
call for the other: when the middleware reports incompatible QoS, and on a look at the graph per
second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import (
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

from .command_line import UserError
from .distro import SubscriptionEventCallbacks

CHECK_PERIOD_S = 1.0
DEPTH = 5  # messages that may arrive while the executor is busy
_AUTOMATIC = "automatic"
_RELIABILITY = {
    "reliable": ReliabilityPolicy.RELIABLE,
    "best_effort": ReliabilityPolicy.BEST_EFFORT,
}
_IN_WORDS = {policy: name.replace("_", " ") for name, policy in _RELIABILITY.items()}


class Source:
    """Passes every message of `topic` (a full name, remapped) to `take`, in the executor's thread.

    The parameter `qos_overrides.TOPIC.subscription.reliability` fixes the reliability. UserError
    for a wrong value of this or another of the `qos_overrides`.
    """

    def __init__(self, node: Node, kind: type, topic: str, take: Callable[[Any], None]) -> None:
        self.topic = topic
        self._node, self._kind, self._take = node, kind, take
        self._fixed = self._overridden()
        self._reliability = self._fixed or ReliabilityPolicy.RELIABLE
        try:
            self._subscription = self._subscribe()
        except RuntimeError as error:  # a wrong value among the qos_overrides
            raise UserError(f"{topic} cannot be subscribed to: {error}") from error
        # A subscription is not destroyed inside its own event's callback, but soon after.
        self._soon = node.create_guard_condition(self._adapt)
        self._timer = node.create_timer(CHECK_PERIOD_S, self._adapt)

    def close(self) -> None:
        """Take no more messages."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_guard_condition(self._soon)
        self._node.destroy_subscription(self._subscription)

    def _overridden(self) -> ReliabilityPolicy | None:
        name = f"qos_overrides.{self.topic}.subscription.reliability"
        choices = ", ".join([_AUTOMATIC, *_RELIABILITY])
        descriptor = ParameterDescriptor(description=f"one of {choices}", read_only=True)
        value = self._node.declare_parameter(name, _AUTOMATIC, descriptor).value
        if value != _AUTOMATIC and value not in _RELIABILITY:
            raise UserError(f"parameter {name}: expected one of {choices}, but got {value!r}")
        return _RELIABILITY.get(value)

    def _subscribe(self) -> Any:
        return self._node.create_subscription(
            self._kind,
            self.topic,
            self._take,
            QoSProfile(depth=DEPTH, reliability=self._reliability),
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._incompatible),
            qos_overriding_options=QoSOverridingOptions(
                (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.DURABILITY)
            ),
        )

    def _incompatible(self, event: Any) -> None:
        if event.last_policy_kind == QoSPolicyKind.RELIABILITY and self._fixed is None:
            self._soon.trigger()
            return
        policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        self._node.get_logger().error(
            f"a publisher of {self.topic} offers a {policy} that this node's excludes: nothing "
            "comes from it. Change its QoS, or this node's parameters "
            f"qos_overrides.{self.topic}.subscription.*"
        )

    def _adapt(self) -> None:
        """Subscribe again, if the publishers offer another reliability."""
        offers = {
            info.qos_profile.reliability
            for info in self._node.get_publishers_info_by_topic(self.topic)
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
