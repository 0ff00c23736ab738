"""The arguments of `launch/emu.launch.py`: one table, declared, checked and documented from here.

Imports neither ROS nor launch. An argument named like a parameter of the node sets it.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import dds

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
