"""The arguments of `launch/emu.launch.py`: one table, declared, checked and documented from here.

Imports neither ROS nor launch. An argument named like a parameter of the node sets it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from emu_perception.errors import UserError
from emu_perception.ros import dds

_YES_OR_NO = ("true", "false")


@dataclass(frozen=True)
class LaunchArgument:
    """One argument; all are texts, and an empty one leaves things as they are."""

    name: str
    default: str
    meaning: str
    choices: tuple[str, ...] = ()


LAUNCH_ARGUMENTS = (
    LaunchArgument("image", "image", "topic of the camera"),
    LaunchArgument("camera_info", "", "its calibration; empty: the topic beside the image"),
    LaunchArgument(
        "image_transport",
        "",
        "Image from `image`, or CompressedImage from `image`/compressed",
        ("", "raw", "compressed"),
    ),
    LaunchArgument("model", "", "ONNX file of an EMU model"),
    LaunchArgument(
        "provider",
        "",
        "ONNX Runtime's execution provider",
        ("", "cpu", "cuda", "tensorrt", "tensorrt-fp16", "openvino", "openvino-bf16"),
    ),
    LaunchArgument(
        "autostart", "", "whether the node configures and activates itself", ("", *_YES_OR_NO)
    ),
    LaunchArgument(
        "params_file",
        str(dds.profile().with_name("desktop.yaml")),
        "parameters of the node; `jetson.yaml` lies beside the default",
    ),
    LaunchArgument("namespace", "", "of the node and of RViz"),
    LaunchArgument(
        "use_sim_time",
        "",
        "time from /clock; empty: with a bag, which publishes it, else as in the params_file",
        ("", *_YES_OR_NO),
    ),
    LaunchArgument("bag", "", "rosbag2 bag to replay as soon as the node listens"),
    LaunchArgument("rviz", "false", "show everything in RViz", _YES_OR_NO),
    LaunchArgument("fixed_frame", "", "RViz's; empty: as in `emu.rviz`"),
    LaunchArgument(
        "log_level", "info", "of the node", ("debug", "info", "warn", "error", "fatal")
    ),
)


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


def is_installed(package: str) -> bool:
    """Whether the sourced ROS environment has a package."""
    from ament_index_python import has_resource

    try:
        return bool(has_resource("packages", package))
    except OSError:  # no ROS is sourced
        return False


def require(packages: Iterable[str], purpose: str) -> None:
    """Raise UserError if one is missing: launch leaves behind what it had started by then."""
    missing = [package for package in packages if not is_installed(package)]
    if missing:
        names = " ".join(f"ros-$ROS_DISTRO-{package.replace('_', '-')}" for package in missing)
        raise UserError(
            f"{purpose} needs {' and '.join(missing)}, and the sourced ROS has none: "
            f"sudo apt install {names}, or build it from source and source that"
        )
