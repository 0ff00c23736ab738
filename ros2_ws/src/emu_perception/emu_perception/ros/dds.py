"""Where the Fast DDS profile for images lies, and how a process gets it.

A process reads the profile once, when it creates its first DDS participant: `use_profile()` must
run before `rclpy.init()`, or the variables of `environment()` be set by whoever starts it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Fast DDS 2 (Humble, Jazzy) reads the first, Fast DDS 3 (Kilted and later) the second."""

STOCK_SEGMENT = 512 * 1024
"""Bytes of Fast DDS's own shared-memory segment, through which a sender's messages pass."""


def profile() -> Path:
    """The installed profile: a shared-memory segment that images fit into (see the file)."""
    return Path(__file__).parents[1] / "config" / "fastdds.xml"


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables that give a child process the profile; none if `given` names one already.

    `given` is the environment that the child would have, by default this process's.
    """
    given = os.environ if given is None else given
    if any(given.get(name) for name in PROFILE_VARIABLES):
        return {}
    return dict.fromkeys(PROFILE_VARIABLES, str(profile()))


def use_profile() -> bool:
    """Give this process the profile, unless its user has chosen one; whether it has ours now."""
    os.environ.update(environment())
    return any(os.environ.get(name) == str(profile()) for name in PROFILE_VARIABLES)


def segment_size(given: Mapping[str, str] | None = None) -> int:
    """Bytes of the shared-memory segment that a process with this environment sends through.

    The largest of the profile's, and Fast DDS's own where the profile tells none.
    """
    given = os.environ if given is None else given
    path = next(filter(None, map(given.get, PROFILE_VARIABLES)), None)
    try:
        root = ElementTree.parse(path).getroot() if path else None
    except (OSError, ElementTree.ParseError):  # Fast DDS tells of it, and goes on without
        root = None
    sizes = [
        int(element.text or 0)
        for element in (root.iter() if root is not None else ())
        if element.tag.endswith("segment_size") and (element.text or "").strip().isdigit()
    ]
    return max(sizes, default=STOCK_SEGMENT)
