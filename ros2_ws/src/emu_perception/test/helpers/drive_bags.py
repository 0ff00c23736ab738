"""Write small bags with a camera's images."""

import numpy as np

from emu_core.bags.writer import BagWriter, offered

IMAGE = "/camera/image_raw"
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 50_000_000


def stamp_of(index):
    return START_NS + index * PERIOD_NS


def write_bag(path, frames, size=(4, 6), extra=(), reliable=False):
    """Write a bag in which image i is rgb8 and full of i; by default offered as best effort."""
    height, width = size
    with BagWriter(path) as writer:
        types = writer.store.types
        writer.add_topic(IMAGE, "sensor_msgs/msg/Image", [offered(reliable=reliable)])
        for topic, msgtype, qos in extra:
            writer.add_topic(topic, msgtype, qos)
        for index in range(frames):
            stamp = types["builtin_interfaces/msg/Time"](*divmod(stamp_of(index), 10**9))
            header = types["std_msgs/msg/Header"](stamp, "camera_optical")
            pixels = np.full(height * width * 3, index, np.uint8)
            image = types["sensor_msgs/msg/Image"](
                header, height, width, "rgb8", 0, width * 3, pixels
            )
            writer.write(IMAGE, stamp_of(index) + 7, writer.encode(image))
            for topic, _, _ in extra:
                text = types["std_msgs/msg/String"](f"{topic} {index}")
                writer.write(topic, stamp_of(index) + 8, writer.encode(text))
    return path
