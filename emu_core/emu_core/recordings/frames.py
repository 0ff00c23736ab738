"""One frame of a bag as files: its image, its depth, and its camera."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from emu_core.bags.camera_info import for_image, of_rectified_image
from emu_core.bags.distortion import CameraModel, camera_model, rectification_maps
from emu_core.bags.errors import BagError
from emu_core.bags.types import CameraInfo, CompressedImage, Image, PointCloud2
from emu_core.data.image_files import is_jpeg, with_end, without_orientation
from emu_core.recordings.clouds import cloud_points, project, remove_hidden
from emu_core.recordings.depth_images import depth_metres

_JPEG_QUALITY = 95
_SAME_SHAPE = 0.01
_PNG16_SCALE = 256


@dataclass(frozen=True)
class Lens:
    """How images of one size and camera_info become images of a pinhole camera.

    Attributes:
        model: The numbers of camera_info for this size.
        rectify: Whether images must be rectified.
        matrix: Camera matrix of the written images, float64 (3, 3).
        rotation: From the camera's frame to that of the written images, float64 (3, 3).
    """

    model: CameraModel
    rectify: bool
    matrix: np.ndarray
    rotation: np.ndarray

    def entry(self) -> dict[str, float]:
        """Entry of cameras.json."""
        size = {"width": self.model.width, "height": self.model.height}
        numbers = {"fx": (0, 0), "fy": (1, 1), "cx": (0, 2), "cy": (1, 2)}
        return {**size, **{name: float(self.matrix[at]) for name, at in numbers.items()}}

    def rectified(self, rgb: np.ndarray) -> np.ndarray:
        """Rectify an image; black where the lens saw nothing."""
        return cv2.remap(rgb, *rectification_maps(self.model), cv2.INTER_LINEAR)

    def rectified_depth(self, metres: np.ndarray) -> np.ndarray:
        """Rectify the depth of an image, float32 (H, W), without interpolation."""
        metres = cv2.remap(metres, *_nearest_maps(self.model), cv2.INTER_NEAREST)
        if np.allclose(self.rotation, np.eye(3)):
            return metres
        # A turned camera measures depth along another axis.
        u, v = np.meshgrid(np.arange(float(self.model.width)), np.arange(float(self.model.height)))
        rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(self.matrix).T
        along = rays @ self.rotation[:, 2]  # Z of the ray in the camera's frame, Rᵀ·ray
        turned = np.where(along > 0, metres / np.where(along > 0, along, 1), 0)
        return turned.astype(np.float32)

    def seen(self) -> np.ndarray | None:
        """Where the lens saw something, bool (H, W); None for everywhere."""
        return _seen(self.model) if self.rectify else None


@lru_cache(maxsize=8)
def _nearest_maps(model: CameraModel) -> tuple[np.ndarray, np.ndarray]:
    """Maps for nearest neighbours: OpenCV rounds those in fixed point to the wrong pixels."""
    return cv2.convertMaps(*rectification_maps(model), cv2.CV_32FC1)


@lru_cache(maxsize=8)
def _seen(model: CameraModel) -> np.ndarray:
    ones = np.ones((model.height, model.width), np.uint8)
    return cv2.remap(ones, *_nearest_maps(model), cv2.INTER_NEAREST) > 0


def open_lens(info: CameraInfo, shape: tuple[int, ...], already_rectified: bool) -> Lens:
    """Geometry of images of a shape (H, W, …).

    Raises:
        CameraInfoError: camera_info is not calibrated, or not for these images.
    """
    raw = for_image(info, shape[1], shape[0])
    model = camera_model(of_rectified_image(raw) if already_rectified else raw)
    turned = (already_rectified or model.distorted) and np.any(raw.r)
    rotation = np.reshape(raw.r, (3, 3)) if turned else np.eye(3)
    return Lens(model, model.distorted, model.matrix(rectified=model.distorted), rotation)


def image_file(
    message: Image | CompressedImage, rgb: np.ndarray, changed: bool, image_format: str
) -> tuple[str, bytes]:
    """Suffix and content of the file for an image.

    Args:
        message: The message of the image; if it is a JPEG that need not change, it is copied.
        rgb: The pixels to write, uint8 (H, W, 3).
        changed: Whether these are not the pixels of the message.
        image_format: "jpg" or "png", for images that are not copied.
    """
    if not changed and not hasattr(message, "encoding"):
        data = bytes(message.data)
        if is_jpeg(data) and not message.format.startswith("bayer"):
            # camera_info, depth and labels have the pixels as stored, whatever EXIF asks for.
            return ".jpg", without_orientation(with_end(data))
    flags = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if image_format == "jpg" else []
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return f".{image_format}", cv2.imencode(f".{image_format}", bgr, flags)[1].tobytes()


def depth_of_image(message: Image | CompressedImage, lens: Lens) -> np.ndarray:
    """Depth of the written image from an aligned depth image, metres, 0 for none.

    Raises:
        UnsupportedImage: The message is no depth image, or it is damaged.
        BagError: Its aspect ratio is not that of the camera.
    """
    metres = depth_metres(message)
    height, width = lens.model.height, lens.model.width
    if metres.shape != (height, width):
        ratio = metres.shape[1] * height / (metres.shape[0] * width)
        if abs(ratio - 1) > _SAME_SHAPE:
            raise BagError(
                f"depth images are {metres.shape[1]}x{metres.shape[0]}, but images are "
                f"{width}x{height}, which has another aspect ratio: record the depth that the "
                "driver aligns to the image (often aligned_depth_to_color)"
            )
        metres = cv2.resize(metres, (width, height), interpolation=cv2.INTER_NEAREST)
    return lens.rectified_depth(metres) if lens.rectify else metres


def depth_of_cloud(message: PointCloud2, lens: Lens, to_camera: np.ndarray) -> np.ndarray:
    """Depth of the written image from a point cloud, metres, float32 (H, W), 0 for none.

    Args:
        message: The cloud.
        lens: The lens of the image.
        to_camera: Matrix from the cloud's frame to the camera's optical frame, (4, 4).

    Raises:
        UnsupportedImage: The cloud is damaged or has no positions.
    """
    points = cloud_points(message)
    points = (points @ to_camera[:3, :3].T + to_camera[:3, 3]) @ lens.rotation.T
    depth = project(points, lens.matrix, lens.model.width, lens.model.height)
    depth = remove_hidden(depth, float(np.sqrt(lens.matrix[0, 0] * lens.matrix[1, 1])))
    seen = lens.seen()
    return depth if seen is None else np.where(seen, depth, np.float32(0))


def depth_code(metres: np.ndarray, limit: float) -> np.ndarray:
    """Code of the depth files, metres × 256, uint16; 0 for no depth and for more than `limit`."""
    code = np.rint(metres.astype(np.float64) * _PNG16_SCALE)
    return np.where((metres <= limit) & (code <= 65535), code, 0).astype(np.uint16)
