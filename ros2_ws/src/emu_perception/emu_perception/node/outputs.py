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
from functools import partial
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from emu_core.registry import Registry
from emu_core.runtime.metadata import OUTPUTS as MAPS
from emu_core.runtime.model_file import LOGITS, ModelInfo
from emu_perception.messages.images import fill_image, fill_jpeg
from emu_perception.node import channel_info, label_info
from emu_perception.node.frame_outputs import PROBABILITIES, FrameOutputs
from emu_perception.planners.scene import Scene

DEPTH = 5


@dataclass(frozen=True)
class Output:
    """A topic below `~/` with one message for each processed image.

    The publisher is reliable, which suits all subscriptions, and volatile. `encoding`, `unit` and
    `range` (with special values) are documentation. `make` returns the message for one image, with
    its stamp and frame_id, or None. With `needs_labels`, the topic of a model with
    classes is not published without vision_msgs, because planners need LabelInfo to read it.
    `needs` are the maps that the topic is made from, separated by spaces: a model without one of
    them has no such topic.
    """

    kind: type
    encoding: str
    unit: str
    range: str
    make: Callable[[FrameOutputs], Any | None]
    needs_labels: bool = False
    needs: str = ""
    missing: str = ""
    """Reason why this installation cannot publish the topic; empty if it can."""
    optional: bool = False
    """Whether most models and installations lack what the topic needs."""


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
    32FC1 (float32, (H, W)) or bgr8 (uint8, (H, W, 3)), see `fill_image`. `needs` are maps of
    `FrameOutputs.maps`, as for an `Output`.
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
    "+Inf: certainly sky, or out of range; NaN: no estimate (see `doubtful_above`)",
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
for _folder, _needs in (("depth", "depth"), ("semantic", "labels")):
    OUTPUTS.add(
        f"{_folder}/camera_info",
        Output(
            CameraInfo,
            "",
            "pixels",
            "K and P of the maps; only with camera_info",
            lambda frame: frame.map_camera_info,
            needs=_needs,
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
for _topic, _range, _points in (
    ("obstacles", "what is not certainly ground; NaN elsewhere", Scene.obstacles),
    ("ground", "what is certainly ground; NaN elsewhere", Scene.ground),
    ("clearing", "ends of free rays; NaN where nothing is known to be free", Scene.clearing),
):
    OUTPUTS.add(
        _topic,
        Output(
            PointCloud2,
            "",
            "metres; x y z",
            _range,
            partial(FrameOutputs.cloud, points=_points),
            needs="labels depth depth_std" if _topic == "clearing" else "labels depth",
        ),
    )
add_image_output(
    "semantic/dynamic_mask",
    "mono8",
    "1 / 255",
    "255: one of `dynamic_classes`; 0: others",
    lambda frame: frame.dynamic_mask,
    needs="labels",
)
add_image_output(
    "semantic/image_16sc1",
    "16SC1",
    "class id",
    "as semantic/image; -1: unlabelled",
    lambda frame: frame.signed_labels,
    needs="labels",
)
OUTPUTS.add(
    PROBABILITIES,
    Output(
        Image,
        "32FCk",
        "probability",
        "0 to 1, one channel for each of `probability_groups`",
        lambda frame: frame.probabilities,
        needs="labels logits",
        optional=True,
    ),
)
OUTPUTS.add(
    "semantic/channel_info",
    Output(
        channel_info.ChannelInfo,
        "",
        "names",
        "channels of semantic/probabilities; only with elevation_map_msgs",
        lambda frame: channel_info.message(list(frame.groups), frame.header),
        needs="labels logits",
        missing=channel_info.MISSING,
        optional=True,
    ),
)
add_image_output(
    "depth/image_16uc1",
    "16UC1",
    "millimetres along Z",
    "0: sky, no estimate or beyond 65.535 m",
    lambda frame: frame.depth_mm,
    needs="depth",
)
add_image_output(
    "depth/rgb",
    "rgb8",
    "colours",
    "the image at the size of the maps",
    lambda frame: frame.rgb,
    needs="depth",
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


def unavailable(info: ModelInfo) -> dict[str, list[str]]:
    """Return the topics that cannot be published with a model, and which of its outputs lack.

    The list is empty if the installation, not the model, is the reason.
    """
    has = {*info.outputs, *([LOGITS] if info.logits_size else [])}
    lacking = {
        topic: [name for name in output.needs.split() if name not in has]
        for topic, output in OUTPUTS.items()
    }
    return {topic: names for topic, names in lacking.items() if names or OUTPUTS[topic].missing}


def published(info: ModelInfo) -> dict[str, Output]:
    """Return the outputs of a node with a model, by topic."""
    absent, no_labels = unavailable(info), label_info.messages() is None
    return {
        topic: output
        for topic, output in OUTPUTS.items()
        if topic not in absent
        and not (output.needs_labels and no_labels and "labels" in info.outputs)
    }


def describe_missing(info: ModelInfo, with_optional: bool = False) -> str:
    """Return which topics are not published with a model, and why; empty if all are."""
    topics = {
        topic: lacking
        for topic, lacking in unavailable(info).items()
        if with_optional or not OUTPUTS[topic].optional
    }
    names = [name for name in (*MAPS, LOGITS) if any(name in lack for lack in topics.values())]
    reasons = {f"the model has no {' and '.join(names)}": [t for t in topics if topics[t]]}
    for topic, lacking in topics.items():
        if not lacking:
            reasons.setdefault(OUTPUTS[topic].missing, []).append(topic)
    return "; ".join(
        f"{reason}, so these topics are not published: {', '.join(absent)}"
        for reason, absent in reasons.items()
        if absent
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
