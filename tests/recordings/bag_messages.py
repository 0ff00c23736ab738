"""Messages and small bags of cameras, depth and lidar, for the tests of this folder."""

import numpy as np

from emu_core.bags.calibration import pinhole
from emu_core.bags.types import CompressedImage, Header, Image, Time, typestore
from emu_core.bags.writer import BagWriter, offered

TYPES = typestore().types
WIDTH, HEIGHT, FOCAL = 64, 48, 50.0
START_S = 1_700_000_000
CAMERA_FRAME, LIDAR_FRAME = "camera_optical", "lidar"
IMAGE, INFO = "/front/image_raw", "/front/camera_info"


def header(seconds=0.0, frame=CAMERA_FRAME):
    """Header at a time after the start of the bag; None for a stamp of zero."""
    if seconds is None:
        return Header(Time(0, 0), frame)
    return Header(Time(*divmod(START_S * 10**9 + round(seconds * 1e9), 10**9)), frame)


def picture(seed=0, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def raw(array, encoding, seconds=0.0, frame=CAMERA_FRAME, big=False):
    """Image of an array (H, W, …)."""
    height, width = array.shape[:2]
    data = np.frombuffer(array.tobytes(), np.uint8)
    step = data.size // height
    return Image(header(seconds, frame), height, width, encoding, int(big), step, data)


def compressed(data, form, seconds=0.0, frame=CAMERA_FRAME):
    return CompressedImage(header(seconds, frame), form, np.frombuffer(bytes(data), np.uint8))


def camera_info(seconds=0.0, width=WIDTH, height=HEIGHT, focal=FOCAL, **fields):
    info = pinhole(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
    info.header = header(seconds)
    for name, value in fields.items():
        setattr(info, name, value)
    return info


def cloud(points, seconds=0.0, frame=LIDAR_FRAME):
    """PointCloud2 with 16 bytes per point: intensity, x, y, z."""
    field = TYPES["sensor_msgs/msg/PointField"]
    names = ("intensity", "x", "y", "z")
    fields = [field(name, 4 * i, 7, 1) for i, name in enumerate(names)]
    table = np.zeros((len(points), 4), "<f4")
    table[:, 1:] = points
    data = np.frombuffer(table.tobytes(), np.uint8)
    size = (1, len(points), fields, False, 16, 16 * len(points), data, False)
    return TYPES["sensor_msgs/msg/PointCloud2"](header(seconds, frame), *size)


def transform(parent, child, translation=(0, 0, 0), rotation=(0, 0, 0, 1)):
    """TFMessage with one transform; the rotation is a quaternion x, y, z, w."""
    pose = TYPES["geometry_msgs/msg/Transform"](
        TYPES["geometry_msgs/msg/Vector3"](*map(float, translation)),
        TYPES["geometry_msgs/msg/Quaternion"](*map(float, rotation)),
    )
    stamped = TYPES["geometry_msgs/msg/TransformStamped"](header(0.0, parent), child, pose)
    return TYPES["tf2_msgs/msg/TFMessage"]([stamped])


def write_bag(path, messages, storage="mcap"):
    """Write (topic, seconds, message), in this order."""
    with BagWriter(path, storage) as writer:
        for topic, seconds, message in messages:
            if topic not in writer.counts:
                latched = topic.endswith("tf_static")
                writer.add_topic(topic, message.__msgtype__, [offered(latched=latched)])
            writer.write_message(topic, START_S * 10**9 + round(seconds * 1e9), message)
    return path


def camera_messages(times, image=IMAGE, info=INFO, **fields):
    """Raw images, each with its own noise, and their camera_info."""
    for i, time in enumerate(times):
        yield info, time, camera_info(time, **fields)
        yield image, time, raw(picture(i), "rgb8", time)
