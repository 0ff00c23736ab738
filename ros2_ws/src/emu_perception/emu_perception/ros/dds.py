"""The Fast DDS profile for images, and how a process gets it.

A process reads the profile when it creates its first DDS participant. So `use_profile` has to run
before `rclpy.init`, or the parent process has to set the variables of `environment`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Fast DDS 2 (Humble, Jazzy) reads the first, Fast DDS 3 (Kilted and later) the second."""

STOCK_SEGMENT = 512 * 1024
"""Bytes of Fast DDS's default shared-memory segment."""


def profile() -> Path:
    """Return the path of our profile, whose shared-memory segment is large enough for images."""
    return config_folder() / "fastdds.xml"


def config_folder() -> Path:
    """Return share/emu_perception/config of this installation; without one, that of the sources.

    Users look for the files there and change them there.
    """
    here = Path(__file__)
    shares = (parent / "share" / "emu_perception" / "config" for parent in here.parents)
    return next(filter(Path.is_dir, shares), here.parents[1] / "config")


def environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that add our profile to an environment; none if it has a profile."""
    if any(given.get(name) for name in PROFILE_VARIABLES):
        return {}
    return dict.fromkeys(PROFILE_VARIABLES, str(profile()))


def use_profile() -> None:
    """Use our profile in this process, unless the user has chosen one."""
    os.environ.update(environment())


def segment_size(given: Mapping[str, str] = os.environ) -> int:
    """Return the bytes of the shared-memory segment of a process with this environment.

    It is the largest size in the profile, or Fast DDS's default if the profile has none.
    """
    path = next(filter(None, map(given.get, PROFILE_VARIABLES)), None)
    try:
        elements = list(ElementTree.parse(path).iter()) if path else []
    except (OSError, ElementTree.ParseError):  # Fast DDS reports it and uses its default
        elements = []
    texts = [(e.text or "").strip() for e in elements if e.tag.endswith("segment_size")]
    return max((int(text) for text in texts if text.isdigit()), default=STOCK_SEGMENT)
