"""Differences between ROS 2 distributions, from Humble on. No other module knows them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from rclpy.parameter import Parameter

try:
    from rclpy import event_handler

    HUMBLE = False
except ImportError:
    from rclpy import qos_event as event_handler  # type: ignore[no-redef]

    HUMBLE = True

if TYPE_CHECKING:
    from lifecycle_msgs.srv import ChangeState
    from rclpy.event_handler import QoSMessageLostInfo, QoSRequestedIncompatibleQoSInfo
    from rclpy.lifecycle import LifecycleNode
    from rclpy.subscription import Subscription


def localhost_only() -> dict[str, str]:
    """Return the environment variables that keep a ROS process on this machine."""
    if HUMBLE:
        return {"ROS_LOCALHOST_ONLY": "1"}  # Jazzy still reads it, but with a warning
    return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def matched(subscription: Subscription) -> bool:
    """Return whether a subscription found a publisher; on Humble, which cannot tell, true."""
    return getattr(subscription, "get_publisher_count", lambda: 1)() > 0


def with_events(
    subscribe: Callable[[event_handler.SubscriptionEventCallbacks], Subscription],
    message_lost: Callable[[int], None],
    incompatible_qos: Callable[[QoSRequestedIncompatibleQoSInfo], None] | None = None,
) -> Subscription:
    """Subscribe with callbacks for both events, as far as the middleware supports them.

    `message_lost` gets the number of messages that were lost in transport since its last call.
    Without a callback for an incompatible QoS, rclpy logs it.
    """
    events = event_handler.SubscriptionEventCallbacks(incompatible_qos=incompatible_qos)

    def lost(event: QoSMessageLostInfo) -> None:
        message_lost(event.total_count_change)

    events.message_lost = lost
    try:
        return subscribe(events)
    except event_handler.UnsupportedEventTypeError:
        events.message_lost = None  # some middlewares do not count lost messages
        return subscribe(events)


def with_type_names(reason: str) -> str:
    """Return rclpy's reason to refuse a parameter; types have names, from Kilted on numbers."""
    if not reason.startswith("Wrong parameter type"):
        return reason
    return re.sub(r"'(\d+)'", lambda found: f"'{_type_name(int(found[1]))}'", reason)


def _type_name(number: int) -> str:
    return f"Type.{Parameter.Type(number).name}"


def guard_transitions(node: LifecycleNode) -> None:
    """Make the node refuse a transition that is not possible in its present state.

    rclpy raises an exception in the executor instead and sends no response. Managers that send
    transition ids without labels, as Nav2's does, trigger that.
    """
    service = node._service_change_state
    change = service.callback

    def respond(
        request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        try:
            return change(request, response)
        except RuntimeError as error:  # the base class of rclpy's RCLError
            reason = str(error).partition(",")[0]
            node.get_logger().error(f"transition {request.transition.id} refused: {reason}")
            response.success = False
            return response

    service.callback = respond
