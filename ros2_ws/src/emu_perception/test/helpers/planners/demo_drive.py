"""Frames of the demo drive through a camera of the node, with what is really there.

    python -m helpers.planners.demo_drive ../../../../docs/planners.png

draws docs/planners.png, from the folder of this package's tests.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage

from emu_core.bags import ground_truth
from emu_core.bags.images import to_rgb
from emu_core.bags.reader import open_bag
from emu_core.labels import CITYSCAPES
from emu_core.runtime.perceiver import Perceiver
from helpers.clouds import positions
from helpers.fake_node import FakeNode, make_camera
from helpers.planners.costmaps import FREE, LETHAL, ObstacleLayer

DRIVE = Path(__file__).parents[6] / "demo" / "drive"
IMAGE, INFO = "/camera/image_raw/compressed", "/camera/camera_info"
WIDTH = 640  # of the picture
ROAD, SKY = CITYSCAPES.names.index("road"), CITYSCAPES.sky


@dataclass
class Frame:
    """The node's messages by topic, and the truth: points in the map (H, W, 3) and labels (H, W).

    The map is below the camera: x forward, y left, z up.
    """

    rgb: np.ndarray
    outputs: dict[str, Any]
    points: np.ndarray
    labels: np.ndarray
    camera_to_map: np.ndarray


def frames(indices: set[int], **settings: Any) -> Iterator[Frame]:
    """Process some frames of the drive with the shipped model."""
    camera = make_camera(FakeNode(), Perceiver(), **settings)
    kinds = {IMAGE: CompressedImage, INFO: CameraInfo}
    parts: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    seen = 0
    with open_bag(DRIVE) as bag:
        for message in bag.messages([*kinds, ground_truth.LABELS, ground_truth.DISPARITY]):
            stamp = bag.stamp_ns(message)
            parts[stamp][message.topic] = message
            if len(parts[stamp]) < 4:
                continue
            complete = parts.pop(stamp)
            if seen in indices:
                image, info = (deserialize_message(complete[t].data, kinds[t]) for t in kinds)
                truth = [
                    bag.decode(complete[t]) for t in (ground_truth.LABELS, ground_truth.DISPARITY)
                ]
                yield _frame(camera, image, info, truth)
            seen += 1


def _frame(camera: Any, image: CompressedImage, info: CameraInfo, truth: list[Any]) -> Frame:
    published = camera._node.published
    for messages in published.values():
        messages.clear()
    camera.lens.update(info)
    camera.process(image, 0.0)
    assert camera.statistics.counts()["failed"] == 0, camera.statistics.snapshot().last_error
    outputs = {topic.removeprefix("~/"): sent[0] for topic, sent in published.items() if sent}
    labels = ground_truth.labels(truth[0])
    depth = ground_truth.depth(truth[1], info.k[0], 80.0)  # NaN where unknown
    scale = info.width / depth.shape[1]  # the true depth is smaller than the image
    labels = cv2.resize(labels, depth.shape[::-1], interpolation=cv2.INTER_NEAREST)
    v, u = (np.mgrid[: depth.shape[0], : depth.shape[1]] + 0.5) * scale - 0.5
    rays = np.stack([(u - info.k[2]) / info.k[0], (v - info.k[5]) / info.k[4], u**0], axis=-1)
    points = rays * depth[..., None]
    camera_to_map = _camera_to_map(points[(labels == ROAD) & (depth < 20)])
    in_map = points @ camera_to_map[:3, :3].T + camera_to_map[:3, 3]
    return Frame(to_rgb(image), outputs, in_map, labels, camera_to_map)


def _camera_to_map(road: np.ndarray) -> np.ndarray:
    """The transform for which the true road has z = 0: a X = 1 by least squares."""
    a = np.linalg.lstsq(road, np.ones(len(road)), rcond=None)[0]
    height = 1 / np.linalg.norm(a)
    up = -a * height
    forward = np.array([0.0, 0.0, 1.0]) - up[2] * up
    forward /= np.linalg.norm(forward)
    transform = np.eye(4)
    transform[:3, :3] = forward, np.cross(up, forward), up
    transform[2, 3] = height
    return transform


def costmap(
    frame: Frame, layer: type[ObstacleLayer] = ObstacleLayer, **given: Any
) -> ObstacleLayer:
    """A layer after one cycle with the frame's ~/obstacles and ~/clearing."""
    result = layer(frame.camera_to_map, **given)
    result.update(frame.outputs["obstacles"], frame.outputs["clearing"])
    return result


def draw(frame: Frame) -> np.ndarray:
    """The frame with its obstacles in red and ground in green, and the costmap; BGR."""
    size = (WIDTH, WIDTH // 2)
    rgb = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
    picture = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    for topic, color in (("obstacles", (60, 60, 230)), ("ground", (90, 180, 60))):
        near = np.isfinite(positions(frame.outputs[topic])[..., 2]).astype(np.uint8)
        inside = cv2.resize(near, size, interpolation=cv2.INTER_NEAREST) > 0
        picture[inside] = (0.55 * picture[inside] + 0.45 * np.array(color)).astype(np.uint8)
    layer = costmap(frame, size=16.0)
    grid = np.full((*layer.cells.shape, 3), 150, np.uint8)
    grid[layer.cells == FREE], grid[layer.cells == LETHAL] = 255, (40, 40, 200)
    # Forward is up and left is left: columns are x and rows are y, which is positive to the left.
    ahead = grid[::-1, : len(grid) // 2 - 1 : -1].transpose(1, 0, 2)
    above = cv2.resize(ahead, size, interpolation=cv2.INTER_NEAREST)
    return np.vstack([picture, above])


if __name__ == "__main__":
    (only,) = frames({int(sys.argv[2]) if len(sys.argv) > 2 else 60})
    cv2.imwrite(sys.argv[1], draw(only))
