"""One camera of the node: it turns an image message into messages on the output topics."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from emu_core.runtime.perceiver import Perceiver
from emu_perception.camera_model.metric_scale import Lens
from emu_perception.messages.images import UnsupportedImage
from emu_perception.messages.points import PointCloudMaker
from emu_perception.node.frame_outputs import FrameOutputs
from emu_perception.node.outputs import Publishers
from emu_perception.node.parameters import Parameters
from emu_perception.node.statistics import CameraStatistics, FrameTiming, stamp_age
from emu_perception.node.subscription import AdaptiveSubscription
from emu_perception.ros.log_once import LogOnce


class Camera:
    """The subscriptions, the lens, the statistics and the output topics of one camera.

    It lives while the node is configured, and is open while the node is active. `process` runs in
    the worker's thread; an error in one image does not affect the next.

    Args:
        name: prefix of the camera's topics; empty for a node's only camera.
        statistics: they outlive this object.

    Raises:
        UserError: a wrong `qos_overrides` parameter.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        perceiver: Perceiver,
        statistics: CameraStatistics,
        parameters: Parameters,
    ) -> None:
        self.perceiver, self.statistics = perceiver, statistics
        self.rectify, self.settings = parameters["rectify"], parameters.settings
        self._node = node
        prefix = f"{name}/" if name else ""
        self._info_name, self._image_name = f"{prefix}camera_info", f"{prefix}image"
        self._kind = Image
        if parameters["image_transport"] == "compressed":  # next to the remapped raw image
            self._image_name = f"{node.resolve_topic_name(self._image_name)}/compressed"
            self._kind = CompressedImage
        info_topic = node.resolve_topic_name(self._info_name)
        self._logger = node.get_logger().get_child(name) if name else node.get_logger()
        self._log_once = LogOnce(self._logger)
        self.lens = Lens(perceiver, lambda: node.count_publishers(info_topic) > 0, self._log_once)
        self.cloud = PointCloudMaker(self.rectify)
        self._publishers = Publishers(node, f"~/{prefix}", perceiver.info.classes)
        self.subscriptions: list[AdaptiveSubscription] = []
        """To camera_info and to the images; empty while the camera is closed."""

    def open(self, callback: Callable[[Image | CompressedImage], None]) -> None:
        """Publish LabelInfo and subscribe; the callback gets the images.

        Raises:
            UserError: a wrong `qos_overrides` parameter.
        """
        self.statistics.restart()
        # LabelInfo has to come before every topic that needs it.
        self._publishers.publish_labels(self.settings().marks_unknown, force=True)
        # First camera_info: others discover it first, and the executor serves it first.
        infos = AdaptiveSubscription(self._node, CameraInfo, self._info_name, self.lens.update)
        self.subscriptions.append(infos)
        images = AdaptiveSubscription(
            self._node, self._kind, self._image_name, callback, self.statistics.count_lost
        )
        self.subscriptions.append(images)
        self._logger.info(f"waiting for {images.topic} and {infos.topic}")

    def close(self) -> None:
        """Unsubscribe."""
        while self.subscriptions:
            self.subscriptions.pop().close()

    def destroy(self) -> None:
        """Unsubscribe and remove the output topics."""
        self.close()
        self._publishers.close()

    def process(self, message: Image | CompressedImage, received: float) -> None:
        """Publish the outputs for an image, `received` at a monotonic time; count its outcome."""
        outcome, timing = "failed", None
        try:
            timing = self._publish(message, received)
            outcome = "processed" if timing else "no_subscriber"
        except UnsupportedImage as error:
            outcome = "refused"
            self.statistics.set_last_error(f"image refused: {error}")
            self._log_once.error(f"refused {error.kind}", f"image refused: {error}")
        except Exception as error:
            name = type(error).__name__
            self.statistics.set_last_error(f"image failed: {name}: {error}")
            self._log_once.error(f"failed {name}", f"image failed: {traceback.format_exc()}")
        finally:
            self.statistics.count_outcome(outcome, timing)

    def _publish(self, message: Image | CompressedImage, received: float) -> FrameTiming | None:
        """Publish all outputs that have a subscriber; None if there are none."""
        subscribed = self._publishers.subscribed()
        if not subscribed:
            return None
        if not message.header.frame_id:
            text = (
                "the images have no frame_id, which the outputs need: set it in the camera driver"
            )
            self._log_once.warning("frame_id", text)
        frame = FrameOutputs(message, self)
        self._publishers.publish_labels(frame.unknown is not None)
        for output, publisher in subscribed:
            made = output.make(frame)
            if made is not None:
                publisher.publish(made)
        now_ns = self._node.get_clock().now().nanoseconds
        return FrameTiming(
            latency_s=time.monotonic() - received,
            inference_s=frame.inference_s,
            age=stamp_age(now_ns, message.header.stamp),
        )
