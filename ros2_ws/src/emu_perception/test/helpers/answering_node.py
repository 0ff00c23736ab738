"""A stand-in for the perception node: it publishes on two topics for each image but every Nth.

answering_node.py IMAGE_TOPIC REFUSE_EVERY   (0: none)
"""

import sys
from contextlib import suppress

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String

from emu_perception.ros import dds


def main() -> None:
    topic, refuse_every = sys.argv[1], int(sys.argv[2])
    dds.use_profile()
    rclpy.init()
    node = rclpy.create_node("answering_node")
    ids = node.create_publisher(Image, "~/ids", 10)
    copy = node.create_publisher(Image, "~/copy", 10)
    info = node.create_publisher(
        String, "~/info", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    )
    info.publish(String(data="latched"))
    count = 0

    def answer(image: Image) -> None:
        nonlocal count
        count += 1
        if refuse_every and count % refuse_every == 0:
            return
        copy.publish(image)
        answer = Image(header=image.header, height=1, width=1, encoding="mono8", step=1)
        answer.data.append(image.data[0])
        ids.publish(answer)

    node.create_subscription(Image, topic, answer, 10)
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


if __name__ == "__main__":
    main()
