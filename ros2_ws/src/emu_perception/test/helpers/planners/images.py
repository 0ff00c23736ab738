"""How planners read the node's images: what they demand, and what they make of the pixels.

Read in the sources of isaac_ros_nvblox (NvbloxNode, image_conversions), elevation_mapping_cupy
(ElevationMappingNode::inputImage), Hydra-ROS (image_receiver.cpp) and in the documentation of
rtabmap_ros and octomap_server.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, Image

_TYPES = {"8U": np.uint8, "16U": np.uint16, "16S": np.int16, "32F": np.float32}
_NAMES = {"mono8": "8UC1", "rgb8": "8UC3", "bgr8": "8UC3", "mono16": "16UC1"}


def cv_image(message: Image) -> np.ndarray:
    """The pixels as cv_bridge gives them: (h, w) or (h, w, channels), by encoding and step."""
    encoding = _NAMES.get(message.encoding, message.encoding)
    depth, _, channels = encoding.partition("C")
    dtype, n = np.dtype(_TYPES[depth]), int(channels)
    assert message.step >= message.width * n * dtype.itemsize
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    used = np.ascontiguousarray(rows[:, : message.width * n * dtype.itemsize])
    pixels = used.view(dtype).reshape(message.height, message.width, n)
    return pixels[..., 0] if n == 1 else pixels


def same_stamp(*messages: Any) -> None:
    """Refuse what an exact synchroniser would never pass on."""
    assert len({(m.header.stamp.sec, m.header.stamp.nanosec) for m in messages}) == 1
    assert all(m.header.frame_id for m in messages)


def same_size(image: Image, info: CameraInfo) -> None:
    assert (image.height, image.width) == (info.height, info.width)
    assert info.k[0] > 0 and info.k[4] > 0


def nvblox(
    depth: Image, depth_info: CameraInfo, mask: Image, mask_info: CameraInfo
) -> tuple[np.ndarray, np.ndarray]:
    """Depth in metres without and with the masked pixels: (static, dynamic), 0 elsewhere.

    It takes both images without looking at step, projects depth into the mask with its own
    camera_info, and takes any mask value above zero as masked.
    """
    same_stamp(depth, depth_info, mask, mask_info)
    same_size(depth, depth_info)
    same_size(mask, mask_info)
    assert mask.encoding == "mono8" and depth.encoding in ("32FC1", "16UC1", "mono16")
    for image, size in ((mask, 1), (depth, 4 if depth.encoding == "32FC1" else 2)):
        assert len(image.data) == image.width * image.height * size
    metres = cv_image(depth).astype(np.float64)
    if depth.encoding != "32FC1":
        metres /= 1000
    assert np.array_equal(depth_info.k, mask_info.k)  # else the pixels would have to be projected
    valid = np.isfinite(metres) & (metres > 0)
    masked = cv_image(mask) > 0
    return np.where(valid & ~masked, metres, 0), np.where(valid & masked, metres, 0)


def elevation_mapping(
    image: Image, info: CameraInfo, channels: list[str]
) -> dict[str, np.ndarray]:
    """The layers of a multi-channel image by name; "rgb" stands for three."""
    same_size(image, info)
    assert image.header.frame_id
    pixels = cv_image(image)
    split = np.moveaxis(np.atleast_3d(pixels), -1, 0)
    assert sum(3 if name == "rgb" else 1 for name in channels) == len(split)
    return dict(zip(channels, split.astype(np.float32), strict=True))


def hydra(rgb: Image, depth: Image, labels: Image) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours, metres and labels (int32, negative: none) of a closed-set camera."""
    same_stamp(rgb, depth, labels)
    assert labels.encoding == "16SC1" and rgb.encoding == "rgb8"
    images = cv_image(rgb), cv_image(depth), cv_image(labels).astype(np.int32)
    assert len({image.shape[:2] for image in images}) == 1
    metres = images[1] if depth.encoding == "32FC1" else images[1].astype(np.float32) / 1000
    return images[0], metres, images[2]


def rgbd(rgb: Image, depth: Image, info: CameraInfo) -> np.ndarray:
    """rtabmap's depth in metres, 0 where it is unusable; colours and depth have one size."""
    same_stamp(rgb, depth, info)
    for image in (rgb, depth):
        same_size(image, info)
    assert rgb.encoding in ("rgb8", "bgr8", "mono8") and depth.encoding in ("32FC1", "16UC1")
    metres = cv_image(depth).astype(np.float64)
    if depth.encoding == "16UC1":
        metres /= 1000
    return np.where(np.isfinite(metres), metres, 0)
