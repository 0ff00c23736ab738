"""A small yard as a camera sees it: ground, four walls and boxes, with known classes and depth.

Rays are intersected with planes and boxes in closed form.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from emu_core.bags.calibration import pinhole
from emu_core.bags.drive_writer import DriveWriter
from emu_core.bags.types import Image

IMAGE, DEPTH = "/camera/image_raw/compressed", "/camera/depth/image_raw"
CLASSES = {1: "ground", 2: "wall", 3: "box"}
GROUND, WALL, BOX = CLASSES

START_NS = 1_700_000_000 * 10**9
STEP_NS = 200_000_000
EYE = 0.9  # metres above the ground
HALF = 6.0  # metres from the centre of the yard to its walls
# Centre x and z, half width, half length, height; metres.
BOXES = (
    *((-2.0, 1.5, 0.4, 0.4, 0.7), (2.2, 2.5, 0.6, 0.3, 1.1), (0.5, 4.0, 0.5, 0.5, 0.5)),
    *((-3.8, 4.2, 0.7, 0.5, 1.4), (3.6, -1.0, 0.4, 0.8, 0.9), (-3.0, -3.2, 0.5, 0.5, 1.0)),
    *((1.4, -3.6, 0.8, 0.4, 0.6), (4.4, 4.6, 0.5, 0.5, 1.2), (-4.6, -0.6, 0.3, 0.6, 0.8)),
)


@dataclass(frozen=True)
class View:
    """What the camera sees: RGB uint8 (H, W, 3), class ids uint8 (H, W), metres along its axis."""

    rgb: np.ndarray
    ids: np.ndarray
    depth: np.ndarray


def focal(width):
    return 0.75 * width


def render(number, width, height):
    """Render the view of a frame; the camera drives a circle and looks ahead, to its left."""
    angle = 0.09 * number
    position = np.array([2.0 * np.sin(angle), -EYE, -2.0 * np.cos(angle)])
    yaw = angle + 0.6 * np.sin(0.31 * number)
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    f = focal(width)
    x, y = (u - (width - 1) / 2) / f, (v - (height - 1) / 2) / f
    across, along = np.cos(yaw), np.sin(yaw)
    # Directions have length 1 along the optical axis: a distance in them is a depth.
    rays = np.stack([across * x + along, y, across - along * x], -1)
    depth = np.full((height, width), np.inf)
    ids = np.zeros((height, width), np.uint8)
    rgb = np.zeros((height, width, 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(rays[..., 1] > 0, EYE / rays[..., 1], np.inf)
        walls = [
            np.where(sign * rays[..., k] > 0, (sign * HALF - position[k]) / rays[..., k], np.inf)
            for k in (0, 2)
            for sign in (-1, 1)
        ]
        hits = [(GROUND, ground, (120, 115, 105))]
        hits += [(WALL, wall, (150 + 12 * i, 120, 100)) for i, wall in enumerate(walls)]
        for i, box in enumerate(BOXES):
            color = np.random.default_rng(i).integers(40, 220, 3)
            hits.append((BOX, _box(position, rays, box), color))
    for id_, distance, color in hits:
        nearer = distance < depth
        depth = np.where(nearer, distance, depth)
        ids[nearer], rgb[nearer] = id_, color
    points = position + depth[..., None] * rays
    stripes = np.sin(9 * points).sum(-1) * np.where(ids == WALL, 14, 7)
    noise = np.random.default_rng(number).normal(0, 6, (height, width))
    shade = np.clip(1.15 - 0.04 * depth, 0.5, 1.2)
    rgb = (rgb + (stripes + noise)[..., None]) * shade[..., None]
    return View(np.clip(rgb, 0, 255).astype(np.uint8), ids, depth.astype(np.float32))


def _box(position, rays, box):
    """Depth of the first hit of an upright box (slab method); infinite where there is none."""
    x, z, half_x, half_z, tall = box
    low, high = np.array([x - half_x, -tall, z - half_z]), np.array([x + half_x, 0, z + half_z])
    first, second = (low - position) / rays, (high - position) / rays
    near, far = np.minimum(first, second).max(-1), np.maximum(first, second).min(-1)
    return np.where((near < far) & (near > 0), near, np.inf)


def write_bag(path, frames, width, height):
    """Write images as JPEG, camera_info, and aligned depth in millimetres, 5 times a second."""
    f = focal(width)
    calibration = pinhole(width, height, f, f, (width - 1) / 2, (height - 1) / 2)
    with DriveWriter(path) as drive:
        drive.bag.add_topic(DEPTH, Image.__msgtype__)
        for i in range(frames):
            view, time_ns = render(i, width, height), START_NS + i * STEP_NS
            drive.write(time_ns, view.rgb[..., ::-1], calibration)
            millimetres = np.round(view.depth * 1000).astype("<u2")
            data = np.frombuffer(millimetres.tobytes(), np.uint8)
            header = drive.compressed(time_ns, "", data).header
            depth = Image(header, height, width, "16UC1", 0, 2 * width, data)
            drive.bag.write_message(DEPTH, time_ns, depth)


def draw_labels(root):
    """Write the class ids of all images of a data set, as a person would draw them."""
    for image in sorted((root / "images").rglob("*.jpg")):
        seconds, nanoseconds = map(int, image.stem.split("_"))
        number = (seconds * 10**9 + nanoseconds - START_NS) // STEP_NS
        height, width = cv2.imread(str(image)).shape[:2]
        path = root / "labels" / image.relative_to(root / "images").with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), render(number, width, height).ids)
