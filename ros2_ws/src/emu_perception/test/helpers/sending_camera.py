"""A camera as a separate process: raw images at a rate, stamped with the time.

sending_camera.py TOPIC WIDTH HEIGHT RATE RELIABILITY   (reliable or best_effort)

It begins with the first subscription and finally prints how many images it sent. It uses the DDS
profile of its environment, as the driver of another vendor does.
"""

import sys
from contextlib import suppress

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image


def main() -> None:
    topic, width, height, rate, reliability = sys.argv[1:]
    rclpy.init()
    node = rclpy.create_node("sending_camera")
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy[reliability.upper()])
    publisher = node.create_publisher(Image, topic, qos)
    image = Image(width=int(width), height=int(height), encoding="rgb8", step=3 * int(width))
    image.header.frame_id = "camera_optical"
    image.data.frombytes(bytes(image.step * image.height))
    print("sending", flush=True)
    sent = 0

    def send() -> None:
        nonlocal sent
        if not sent and not publisher.get_subscription_count():
            return
        sent += 1
        image.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(image)

    node.create_timer(1 / float(rate), send)
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)
    print(f"sent {sent}", flush=True)


if __name__ == "__main__":
    main()
