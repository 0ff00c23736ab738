"""Subscriptions that follow the reliability and the durability of their publishers.

A reliable subscription receives nothing from a best-effort publisher, and a best-effort
subscription may lose images of a reliable publisher. A volatile subscription does not receive
what a transient-local publisher sent before, such as the only camera_info of a driver, and a
transient-local subscription receives nothing from a volatile publisher. So a subscription starts
reliable and volatile, and is replaced when the publishers require it: when the middleware reports
an incompatible QoS, and after a check once per second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from emu_perception.errors import UserError
from emu_perception.node.parameters import WRONG_QOS
from emu_perception.ros.distro import with_events
from emu_perception.ros.qos import offered_by_all

if TYPE_CHECKING:
    from rclpy.event_handler import QoSRequestedIncompatibleQoSInfo

DEPTH = 5  # messages that may arrive while the executor is busy
_CHOICES: dict[str, dict[str, ReliabilityPolicy | DurabilityPolicy | None]] = {
    "reliability": {
        "automatic": None,
        "reliable": ReliabilityPolicy.RELIABLE,
        "best_effort": ReliabilityPolicy.BEST_EFFORT,
    },
    "durability": {
        "automatic": None,
        "volatile": DurabilityPolicy.VOLATILE,
        "transient_local": DurabilityPolicy.TRANSIENT_LOCAL,
    },
}
_FOLLOWED = {QoSPolicyKind.RELIABILITY: "reliability", QoSPolicyKind.DURABILITY: "durability"}


class AdaptiveSubscription:
    """Subscription with the reliability and the durability of its publishers.

    The parameters `qos_overrides.TOPIC.subscription.reliability` and `.durability` fix them.

    Args:
        name: topic before remapping; the attribute `topic` is the full name after it.
        lost_callback: gets the number of messages that the middleware lost.

    Raises:
        UserError: a wrong value among the `qos_overrides`.
    """

    def __init__(
        self,
        node: Node,
        kind: type,
        name: str,
        callback: Callable[[Any], None],
        lost_callback: Callable[[int], None] = lambda _: None,
    ) -> None:
        # rclpy remaps the name; remapping it here as well would undo a swap of two names.
        self._name, self.topic = name, node.resolve_topic_name(name)
        self._node, self._kind = node, kind
        self._callback, self._lost_callback = callback, lost_callback
        # The node's default group keeps references to everything that was ever in it.
        self._group = MutuallyExclusiveCallbackGroup()
        try:
            self._fixed = {policy: self._fixed_policy(policy) for policy in _CHOICES}
            self._qos = self._wanted(())
            self._subscription = self._subscribe()
        except WRONG_QOS as error:
            raise UserError(f"cannot subscribe to {self.topic}: {error}") from error
        # A subscription must not be destroyed inside the callback of its own event.
        self._adapt_soon = node.create_guard_condition(self.adapt, callback_group=self._group)

    def close(self) -> None:
        """Unsubscribe."""
        # An executor keeps a reference to its last subscription: do not keep the camera with it.
        self._callback = self._lost_callback = lambda _: None
        self._node.destroy_guard_condition(self._adapt_soon)
        self._node.destroy_subscription(self._subscription)

    def publishers(self) -> list[tuple[str, str]]:
        """Return the present publishers, and why the messages of each are not received, if so."""
        result = []
        for info in self._endpoints():
            offer = _words(info.qos_profile.reliability)
            if info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL:
                offer += ", transient local"
            problem = self._problem(info)
            details = f"{offer}; {problem}" if problem else offer
            name = f"{info.node_namespace.rstrip('/')}/{info.node_name}"
            result.append((f"{name} ({details})", problem))
        return result

    def other_transport(self) -> str:
        """Return what to do if only the other transport of these images is published."""
        raw = self.topic.removesuffix("/compressed")
        other, name = (raw, "raw") if raw != self.topic else (f"{raw}/compressed", "compressed")
        if self._endpoints() or not self._node.get_publishers_info_by_topic(other):
            return ""
        return f"{other} is published: set image_transport:={name}"

    def adapt(self) -> None:
        """Subscribe again if the publishers changed their QoS; call it once a second."""
        offers = [info.qos_profile for info in self._endpoints()]
        wanted = self._wanted(offers)
        if not offers or wanted == self._qos:
            return
        changed = [policy for policy in wanted if wanted[policy] != self._qos[policy]]
        self._qos = wanted
        self._node.destroy_subscription(self._subscription)
        self._subscription = self._subscribe()
        names = " and ".join(_words(wanted[policy]) for policy in changed)
        consequence = " (messages may be lost under load)" if "best effort" in names else ""
        self._node.get_logger().warning(
            f"{self.topic} is published as {names}: subscribed again as {names}{consequence}"
        )

    def _wanted(self, offers: Sequence[QoSProfile]) -> dict[str, Any]:
        """Return the strongest policies that all publishers offer, unless they are fixed."""
        followed = offered_by_all(offers)
        return {policy: self._fixed[policy] or value for policy, value in followed.items()}

    def _endpoints(self) -> list[TopicEndpointInfo]:
        return self._node.get_publishers_info_by_topic(self._name)

    def _fixed_policy(self, policy: str) -> ReliabilityPolicy | DurabilityPolicy | None:
        name = f"qos_overrides.{self.topic}.subscription.{policy}"
        choices = ", ".join(_CHOICES[policy])
        if not self._node.has_parameter(name):  # it stays declared after the first activation
            descriptor = ParameterDescriptor(description=f"one of {choices}", read_only=True)
            self._node.declare_parameter(name, "automatic", descriptor)
        value = str(self._node.get_parameter(name).value)
        if value not in _CHOICES[policy]:
            raise UserError(f"parameter {name}: expected one of {choices}, but got {value!r}")
        return _CHOICES[policy][value]

    def _subscribe(self) -> Subscription:
        return with_events(
            lambda events: self._node.create_subscription(
                self._kind,
                self._name,
                self._receive,
                QoSProfile(depth=DEPTH, **self._qos),
                callback_group=self._group,
                event_callbacks=events,
                qos_overriding_options=QoSOverridingOptions(
                    (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH)
                ),
            ),
            message_lost=self._count_lost,
            incompatible_qos=self._incompatible_qos,
        )

    # Methods, because `close` replaces both callbacks.

    def _receive(self, message: Any) -> None:
        self._callback(message)

    def _count_lost(self, count: int) -> None:
        self._lost_callback(count)

    def _incompatible_qos(self, event: QoSRequestedIncompatibleQoSInfo) -> None:
        followed = _FOLLOWED.get(event.last_policy_kind)
        if followed and self._fixed[followed] is None:
            self._adapt_soon.trigger()
            return
        policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        problem = f"incompatible QoS ({policy}): no messages will be received"
        self._node.get_logger().error(f"{self.topic}: {problem}. {self._advice()}")

    def _problem(self, info: TopicEndpointInfo) -> str:
        """Return why messages of a publisher are not received; empty if they should be."""
        # Type names have the form sensor_msgs/msg/Image.
        wanted = f"{self._kind.__module__.partition('.')[0]}/msg/{self._kind.__name__}"
        if info.topic_type != wanted:
            return f"publishes {info.topic_type}, but this node subscribes to {wanted}"
        compatible, reason = qos_check_compatible(info.qos_profile, self._subscription.qos_profile)
        if compatible != QoSCompatibility.ERROR:
            return ""
        reason = reason.replace("ERROR: ", "").rstrip(";").replace(";", ", ").lower()
        return f"incompatible QoS: {reason}. {self._advice()}"

    def _advice(self) -> str:
        return (
            "Change the publisher's QoS, or this node's parameters "
            f"qos_overrides.{self.topic}.subscription.*"
        )


def _words(policy: ReliabilityPolicy | DurabilityPolicy) -> str:
    return policy.name.lower().replace("_", " ")
