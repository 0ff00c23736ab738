"""What differs between ROS 2 distributions, from Humble on: the only module that knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError

    HUMBLE = False
except ImportError:
    from rclpy.qos_event import (  # type: ignore[no-redef]
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )

    HUMBLE = True

__all__ = ["HUMBLE", "guard_transitions", "localhost_only", "matched", "with_events"]


def localhost_only() -> dict[str, str]:
    """Environment variables that keep a ROS process to this machine."""
    if HUMBLE:
        return {"ROS_LOCALHOST_ONLY": "1"}  # which Jazzy still reads, but warns about
    return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def matched(subscription: Any) -> bool:
    """Whether a subscription found a publisher; Humble cannot tell, so there it says yes."""
    return getattr(subscription, "get_publisher_count", lambda: 1)() > 0


def with_events(
    subscribe: Callable[[SubscriptionEventCallbacks], Any],
    incompatible_qos: Callable[[Any], None],
    message_lost: Callable[[Any], None],
) -> Any:
    """What `subscribe` returns, with callbacks for as many of these events as there are here."""
    try:
        return subscribe(
            SubscriptionEventCallbacks(
                incompatible_qos=incompatible_qos, message_lost=message_lost
            )
        )
    except UnsupportedEventTypeError:  # some middlewares count no losses
        return subscribe(SubscriptionEventCallbacks(incompatible_qos=incompatible_qos))


def guard_transitions(node: Any) -> None:
    """Answer a transition that does not start at the node's state with a no.

    rclpy raises an exception instead, out of the executor, and never answers; a manager that sends
    ids without labels, as Nav2's does, comes upon that.
    """
    service = node._service_change_state
    change = service.callback

    def answer(request: Any, response: Any) -> Any:
        try:
            return change(request, response)
        except RuntimeError as error:  # rclpy's RCLError is one
            reason = str(error).partition(",")[0]
            node.get_logger().error(f"transition {request.transition.id} refused: {reason}")
            response.success = False
            return response

    service.callback = answer
