"""How old a stamp is by the node's clock, and when that cannot be told. Imports no ROS.

Stamps belong to the ROS clock, which may be simulated, stand still or jump; durations are measured
with `time.monotonic()`. The two are never subtracted from each other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

PLAUSIBLE_AGE_S = 60.0
"""No image waits that long here: what seems older was stamped by another clock."""

PLAUSIBLE_LEAD_S = 0.5
"""Stamps so far in the future are those of a clock that is read in steps, as `/clock` is."""


class Age(NamedTuple):
    """Seconds since a stamp, or None and the reason why nobody can tell."""

    seconds: float | None
    doubt: str = ""


def stamp_age(now_ns: int, stamp: Any) -> Age:
    """Age of a builtin_interfaces/Time at `now_ns` nanoseconds of the node's ROS clock."""
    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
    if stamp_ns == 0:
        return Age(None, "the images carry no stamp")
    if now_ns == 0:
        return Age(None, "use_sim_time is set, and nothing has come on /clock")
    age_s = (now_ns - stamp_ns) / 1e9
    if age_s > PLAUSIBLE_AGE_S:
        return Age(
            None,
            f"stamps are {_span(age_s)} behind this node's clock: for a bag, play with --clock "
            "and set use_sim_time; otherwise synchronise the clocks",
        )
    if age_s < -PLAUSIBLE_LEAD_S:
        return Age(
            None,
            f"stamps are {_span(-age_s)} ahead of this node's clock: synchronise the clocks, or "
            "set use_sim_time alike in all nodes",
        )
    return Age(max(0.0, age_s))


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"
