"""Where the Fast DDS profile for images lies, and how a process gets it.

A process reads the profile once, when it creates its first DDS participant: `use_profile()` must
run before `rclpy.init()`, or the variables of `environment()` be set by whoever starts it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Fast DDS 2 (Humble, Jazzy) reads the first, Fast DDS 3 (Kilted and later) the second."""


def profile() -> Path:
    """The installed profile: a shared-memory segment that images fit into (see the file)."""
    return Path(__file__).parent / "config" / "fastdds.xml"


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
