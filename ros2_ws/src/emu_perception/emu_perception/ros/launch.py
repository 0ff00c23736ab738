"""What the launch files need before they start: arguments, bag player, installed packages.

The arguments of `launch/emu.launch.py` are one table, from which they are declared, checked and
documented. An argument with the name of a node parameter sets it. Imports neither ROS nor launch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from emu_core.bags.errors import BagError
from emu_core.files import visible_entries
from emu_perception.errors import UserError
from emu_perception.ros import dds

IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

_YES_OR_NO = ("true", "false")

_SOURCES = {
    "semantic_segmentation_layer": "https://github.com/kiwicampus/semantic_segmentation_layer"
}
"""Repositories of packages that have no binary package."""


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
        (
            *("", "auto", "cpu", "cpu-fused", "cuda", "tensorrt", "tensorrt-fp16"),
            *("openvino", "openvino-bf16"),
        ),
    ),
    LaunchArgument(
        "autostart", "", "whether the node configures and activates itself", ("", *_YES_OR_NO)
    ),
    LaunchArgument(
        "params_file",
        str(dds.config_folder() / "desktop.yaml"),
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


def checked(given: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments, with choices of any case in the spelling of `LAUNCH_ARGUMENTS`.

    Python and YAML write True, log levels are often written WARN.

    Raises:
        UserError: a value is none of the choices.
    """
    result = dict(given)
    for argument in LAUNCH_ARGUMENTS:
        if argument.choices and (value := result[argument.name].lower()) not in argument.choices:
            choices = ", ".join(filter(None, argument.choices))
            raise UserError(f"{argument.name}: expected one of {choices}, but got {value!r}")
        if argument.choices:
            result[argument.name] = value
    return result


def with_transport_of_bag(given: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments with the image_transport of the bag, unless the user has chosen one.

    Nothing is checked if the params_file names several cameras, whose topics it does not know.

    Raises:
        UserError: the bag has no images on this topic.
    """
    try:
        import yaml

        from emu_core.bags.reader import open_bag

        with open_bag(Path(given["bag"]).expanduser()) as bag:
            images = sorted(t.name for t in bag.topics.values() if t.type in IMAGES)
    except (ImportError, BagError):  # rosbag2 may be able to play it
        return dict(given)
    content = yaml.safe_load(Path(given["params_file"]).expanduser().read_text(encoding="utf-8"))
    if _names_cameras(content):
        return dict(given)
    image = given["image"]
    image = image if image.startswith("/") else f"{given['namespace'].rstrip('/')}/{image}"
    found = {"raw": image in images, "compressed": f"{image}/compressed" in images}
    transport = given["image_transport"]
    if not any(found.values()) or not found.get(transport, True):
        advice = f"image:={(images or ['TOPIC'])[0].removesuffix('/compressed')}"
        wanted = f"{image}/compressed" if transport == "compressed" else image
        names = ", ".join(images) or "none"
        raise UserError(
            f"{given['bag']} has no images on {wanted}; its image topics: {names} ({advice})"
        )
    if not transport and not all(found.values()):
        transport = "raw" if found["raw"] else "compressed"
    return {**given, "image_transport": transport}


def _names_cameras(content: object) -> bool:
    """Whether a part of a parameter file has a list `cameras` with names."""
    if not isinstance(content, dict):
        return False
    names = content.get("cameras")
    return (isinstance(names, list) and any(names)) or any(map(_names_cameras, content.values()))


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
        binary = [f"ros-$ROS_DISTRO-{p.replace('_', '-')}" for p in missing if p not in _SOURCES]
        steps = [f"sudo apt install {' '.join(binary)}"] if binary else []
        steps += [f"build {_SOURCES[p]} in your workspace" for p in missing if p in _SOURCES]
        raise UserError(
            f"{purpose} needs {' and '.join(missing)}, which the sourced ROS does not have: "
            f"{', and '.join(steps)}"
        )
