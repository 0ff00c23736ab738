"""Which program replays a bag on this machine: rosbag2's, or ours. Imports no ROS."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from .installed import is_installed

_ROSBAG2 = ("ros2bag", "rosbag2_py")
_ROSBAG2_MCAP = "rosbag2_storage_mcap"  # no Python module, and Humble installs it on demand only


def rosbag2_plays(bag: Path) -> bool:
    """Whether `ros2 bag play` is installed here, with the storage plugin that the bag needs."""
    if not all(find_spec(name) for name in _ROSBAG2):
        return False
    return not _is_mcap(bag) or is_installed(_ROSBAG2_MCAP)


def rosbag2_command(bag: Path, *, clock: bool) -> list[str]:
    """The command that replays a bag with rosbag2, and its time on /clock if wanted.

    It starts late, because what is sent before DDS has matched the readers is lost.
    """
    return ["ros2", "bag", "play", str(bag), "--delay", "3", *(["--clock"] if clock else [])]


def player_arguments(bag: Path, *, clock: bool) -> list[str]:
    """The same for our executable `player`, which can wait for a reader of the images."""
    return [str(bag), "--wait-for-subscribers", "1", *(["--clock"] if clock else [])]


def _is_mcap(bag: Path) -> bool:
    return bag.suffix == ".mcap" or (bag.is_dir() and any(bag.glob("*.mcap")))
