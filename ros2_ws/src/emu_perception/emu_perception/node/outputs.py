"""The output topics: one registry, from which the publishers and their documentation are made.

A file that EMU_PLUGINS names can add a topic:

    add_image_output(
        *("depth/inverse", "32FC1", "1 / metres", "0: sky"),
        lambda frame: 1 / frame.maps["depth"],
        needs="depth",
    )
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from emu_core.registry import Registry
from emu_core.runtime.metadata import OUTPUTS as MAPS
from emu_core.runtime.model_file import ModelInfo
from emu_perception.messages.images import fill_image, fill_jpeg
from emu_perception.node import label_info
from emu_perception.node.frame_outputs import FrameOutputs

DEPTH = 5


@dataclass(frozen=True)
class Output:
    """A topic below `~/` with one message for each processed image.

    The publisher is reliable, which suits all subscriptions, and volatile. `encoding`, `unit` and
    `range` (with special values) are documentation. `make` returns the message for one image, with
    its stamp and frame_id, or None. With `needs_labels`, the topic of a model with
    classes is not published without vision_msgs, because planners need LabelInfo to read it.
    `needs` is the map that the topic is made from: without it, there is no topic.
    """

    kind: type
    encoding: str
    unit: str
    range: str
    make: Callable[[FrameOutputs], Any | None]
    needs_labels: bool = False
    needs: str = ""


OUTPUTS: Registry[Output] = Registry("output topic")
"""Outputs by topic, in the order of publishing: the outputs that control a robot come first."""


def add_image_output(
    topic: str,
    encoding: str,
    unit: str,
    range: str,
    pixels: Callable[[FrameOutputs], np.ndarray],
    needs: str = "",
) -> None:
    """Register an Image topic.

    `pixels` returns the array for one image in the type of the encoding: mono8 (uint8, (H, W)),
    32FC1 (float32, (H, W)) or bgr8 (uint8, (H, W, 3)). `needs` is the map of `FrameOutputs.maps`
    that it is made from: a model without this map has no such topic.
    """

    def make(frame: FrameOutputs) -> Image:
        return fill_image(Image(), pixels(frame), encoding, frame.header)

    OUTPUTS.add(topic, Output(Image, encoding, unit, range, make, needs=needs))


add_image_output(
    "semantic/image",
    "mono8",
    "class id",
    "0 to C - 1; C: unknown (see `unknown_above`); 255: unlabelled",
    lambda frame: frame.maps["labels"],
    needs="labels",
)
add_image_output(
    "semantic/confidence",
    "mono8",
    "round(255 (1 - entropy / ln C))",
    "0 to 255; 0 where unlabelled",
    lambda frame: frame.confidence,
    needs="labels",
)
add_image_output(
    "semantic/uncertainty",
    "32FC1",
    "entropy / ln C",
    "0 to 1",
    lambda frame: frame.maps["label_uncertainty"],
    needs="label_uncertainty",
)
add_image_output(
    "depth/image",
    "32FC1",
    "metres along Z",
    "+Inf: sky or out of range; NaN: no estimate",
    lambda frame: frame.maps["depth"],
    needs="depth",
)
add_image_output(
    "depth/uncertainty",
    "32FC1",
    "metres, standard deviation",
    "+Inf and NaN where depth/image has them",
    lambda frame: frame.maps["depth_std"],
    needs="depth_std",
)
OUTPUTS.add(
    "depth/camera_info",
    Output(
        CameraInfo,
        "",
        "pixels",
        "K and P of depth/image; only with camera_info",
        lambda frame: frame.depth_camera_info,
        needs="depth",
    ),
)
OUTPUTS.add(
    "points",
    Output(
        PointCloud2,
        "",
        "metres; x y z rgb label label_uncertainty depth_std",
        "one point per pixel of the maps; NaN where depth is not usable",
        lambda frame: frame.points,
        needs="depth",
        needs_labels=True,
    ),
)
add_image_output(
    "overlay",
    "bgr8",
    "class colours",
    "more transparent where uncertain",
    lambda frame: frame.overlay,
    needs="labels",
)
OUTPUTS.add(
    "overlay/compressed",
    Output(
        CompressedImage,
        "jpeg",
        "class colours",
        "more transparent where uncertain",
        lambda frame: fill_jpeg(
            CompressedImage(), frame.overlay, frame.settings.jpeg_quality, frame.header
        ),
        needs="labels",
    ),
)


def without_map(info: ModelInfo) -> dict[str, str]:
    """Return the topics that a model cannot fill, and the map that each needs."""
    return {
        topic: output.needs
        for topic, output in OUTPUTS.items()
        if output.needs and output.needs not in info.outputs
    }


def describe_missing(info: ModelInfo) -> str:
    """Return which maps a model lacks, and which topics with them; empty if it has all."""
    if not (topics := without_map(info)):
        return ""
    maps = " and ".join(name for name in MAPS if name not in info.outputs)
    return f"the model has no {maps}, so these topics are not published: {', '.join(topics)}"


def describe_topics() -> list[tuple[str, ...]]:
    """Return topic, type and encoding, unit, range, rate and QoS of each topic of a camera."""
    names = "all classes; also `unknown` if `unknown_above` is set"
    when, qos = "on activation and on change", "reliable, transient local, 1"
    rows = [(f"~/{label_info.TOPIC}", "vision_msgs/LabelInfo", "id and name", names, when, qos)]
    when, qos = "each image", f"reliable, volatile, {DEPTH}"
    for topic, output in OUTPUTS.items():
        kind = f"{output.kind.__name__} {output.encoding}".strip()
        rows.append((f"~/{topic}", kind, output.unit, output.range, when, qos))
    levels, qos = "OK, WARN or ERROR, with the reason", "reliable, volatile, 10"
    return [*rows, ("/diagnostics", "DiagnosticArray", levels, "", "1 Hz", qos)]
