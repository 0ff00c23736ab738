"""The QoS with which a subscription receives from all publishers of a topic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy


def offered_by_all(offers: Iterable[QoSProfile]) -> dict[str, Any]:
    """Return the strongest reliability and durability that all publishers offer, by name.

    Reliable if all are, transient local if all are; without a publisher reliable and volatile.
    """
    kinds = [(offer.reliability, offer.durability) for offer in offers]
    lossy = any(reliability == ReliabilityPolicy.BEST_EFFORT for reliability, _ in kinds)
    latched = {durability for _, durability in kinds} == {DurabilityPolicy.TRANSIENT_LOCAL}
    return {
        "reliability": ReliabilityPolicy["BEST_EFFORT" if lossy else "RELIABLE"],
        "durability": DurabilityPolicy["TRANSIENT_LOCAL" if latched else "VOLATILE"],
    }
