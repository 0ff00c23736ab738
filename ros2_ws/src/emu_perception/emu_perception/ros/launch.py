"""What the launch files need before they start: arguments, bag player, installed packages.

The arguments of `launch/emu.launch.py` are one table, from which they are declared, checked and
documented. An argument with the name of a node parameter sets it. Imports neither ROS nor launch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from emu_core.files import visible_entries
from emu_perception.errors import UserError
from emu_perception.ros import dds

_YES_OR_NO = ("true", "false")


@dataclass(frozen=True)
class LaunchArgument:
    """One argument. All are texts; an empty text sets nothing."""

    name: str
    default: str
    description: str
    choices: tuple[str, ...] = ()


LAUNCH_ARGUMENTS = (
    LaunchArgument("image", "image", "image topic of the camera"),
    LaunchArgument("camera_info", "", "its camera_info topic; empty: next to the image topic"),
    LaunchArgument(
        "image_transport",
        "",
        "raw: subscribe to `image` (Image); compressed: to `image`/compressed (CompressedImage)",
        ("", "raw", "compressed"),
    ),
    LaunchArgument("model", "", "ONNX file of an EMU model"),
    LaunchArgument(
        "provider",
        "",
        "ONNX Runtime execution provider",
        ("", "cpu", "cuda", "tensorrt", "tensorrt-fp16", "openvino", "openvino-bf16"),
    ),
    LaunchArgument(
        "autostart", "", "whether the node configures and activates itself", ("", *_YES_OR_NO)
    ),
    LaunchArgument(
        "params_file",
        str(dds.profile().with_name("desktop.yaml")),
        "parameter file of the node; `jetson.yaml` is in the same folder as the default",
    ),
    LaunchArgument("namespace", "", "namespace of the node and of RViz"),
    LaunchArgument(
        "use_sim_time",
        "",
        "use the time on /clock; empty: yes with a bag, otherwise as in params_file",
        ("", *_YES_OR_NO),
    ),
    LaunchArgument("bag", "", "rosbag2 bag to play as soon as the node subscribes to images"),
    LaunchArgument("rviz", "false", "start RViz with all outputs", _YES_OR_NO),
    LaunchArgument("fixed_frame", "", "fixed frame of RViz; empty: as in `emu.rviz`"),
    LaunchArgument(
        "log_level", "info", "log level of the node", ("debug", "info", "warn", "error", "fatal")
    ),
)


def rosbag2_plays(bag: Path) -> bool:
    """Return whether `ros2 bag play` is installed, with the storage plugin of the bag."""
    if not (find_spec("ros2bag") and find_spec("rosbag2_py")):
        return False
    files = visible_entries(bag) if bag.is_dir() else [bag]
    is_mcap = any(".mcap" in file.suffixes for file in files)
    return not is_mcap or is_installed("rosbag2_storage_mcap")  # optional on Humble


def is_installed(package: str) -> bool:
    """Return whether the sourced ROS environment has a package."""
    from ament_index_python import has_resource

    try:
        return bool(has_resource("packages", package))
    except OSError:  # no ROS is sourced
        return False


def require(packages: Iterable[str], purpose: str) -> None:
    """Check for packages before any process starts: launch would leave those running.

    Raises:
        UserError: a package is missing.
    """
    missing = [package for package in packages if not is_installed(package)]
    if missing:
        names = " ".join(f"ros-$ROS_DISTRO-{package.replace('_', '-')}" for package in missing)
        raise UserError(
            f"{purpose} needs {' and '.join(missing)}, which the sourced ROS does not have: "
            f"sudo apt install {names}, or build from source and source that workspace"
        )
