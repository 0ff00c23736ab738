"""What differs between ROS 2 distributions, from Humble on: the only module that knows."""

from __future__ import annotations

from typing import Any

try:
    from rclpy.event_handler import SubscriptionEventCallbacks

    HUMBLE = False
except ImportError:
    from rclpy.qos_event import SubscriptionEventCallbacks  # type: ignore[no-redef]

    HUMBLE = True

__all__ = ["HUMBLE", "SubscriptionEventCallbacks", "localhost_only", "matched"]


def localhost_only() -> dict[str, str]:
    """Environment variables that keep a ROS process to this machine."""
    if HUMBLE:
        return {"ROS_LOCALHOST_ONLY": "1"}  # which Jazzy still reads, but warns about
    return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def matched(subscription: Any) -> bool:
    """Whether a subscription found a publisher; Humble cannot tell, so there it says yes."""
    return getattr(subscription, "get_publisher_count", lambda: 1)() > 0
