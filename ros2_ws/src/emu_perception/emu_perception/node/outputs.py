"""The output topics: one registry, from which the publishers and their documentation are made.

A file that EMU_PLUGINS names can add a topic:

    add_image_output(
        "depth/inverse", "32FC1", "1 / metres", "0: sky", lambda frame: 1 / frame.perception.depth
    )
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from emu_core.registry import Registry
from emu_perception.messages.images import fill_image, fill_jpeg
from emu_perception.node import label_info
from emu_perception.node.frame_outputs import FrameOutputs

DEPTH = 5


@dataclass(frozen=True)
class Output:
    """A topic below `~/` with one message for each processed image.

    The publisher is reliable, which suits all subscriptions, and volatile. `encoding`, `unit` and
    `range` (with special values) are documentation. `make` returns the message for one image, with
    its stamp and frame_id, or None. With `needs_labels`, the topic is not published without
    vision_msgs, because planners need LabelInfo to read it.
    """

    kind: type
    encoding: str
    unit: str
    range: str
    make: Callable[[FrameOutputs], Any | None]
    needs_labels: bool = False


OUTPUTS: Registry[Output] = Registry("output topic")
"""Outputs by topic, in the order of publishing: the outputs that control a robot come first."""


def add_image_output(
    topic: str, encoding: str, unit: str, range: str, pixels: Callable[[FrameOutputs], np.ndarray]
) -> None:
    """Register an Image topic.

    `pixels` returns the array for one image in the type of the encoding: mono8 (uint8, (H, W)),
    32FC1 (float32, (H, W)) or bgr8 (uint8, (H, W, 3)).
    """

    def make(frame: FrameOutputs) -> Image:
        return fill_image(Image(), pixels(frame), encoding, frame.header)

    OUTPUTS.add(topic, Output(Image, encoding, unit, range, make))


add_image_output(
    "semantic/image",
    "mono8",
    "class id",
    "0 to C - 1; C: unknown (see `unknown_above`); 255: unlabelled",
    lambda frame: frame.perception.labels,
)
add_image_output(
    "semantic/confidence",
    "mono8",
    "round(255 (1 - entropy / ln C))",
    "0 to 255; 0 where unlabelled",
    lambda frame: frame.confidence,
)
add_image_output(
    "semantic/uncertainty",
    "32FC1",
    "entropy / ln C",
    "0 to 1",
    lambda frame: frame.perception.label_uncertainty,
)
add_image_output(
    "depth/image",
    "32FC1",
    "metres along Z",
    "+Inf: sky or out of range; NaN: no estimate",
    lambda frame: frame.perception.depth,
)
add_image_output(
    "depth/uncertainty",
    "32FC1",
    "metres, standard deviation",
    "+Inf and NaN where depth/image has them",
    lambda frame: frame.perception.depth_std,
)
OUTPUTS.add(
    "depth/camera_info",
    Output(
        CameraInfo,
        "",
        "pixels",
        "K and P of depth/image; only with camera_info",
        lambda frame: frame.depth_camera_info,
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
        needs_labels=True,
    ),
)
add_image_output(
    "overlay",
    "bgr8",
    "class colours",
    "more transparent where uncertain",
    lambda frame: frame.overlay,
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
    ),
)


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
