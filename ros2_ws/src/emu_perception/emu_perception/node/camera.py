"""One camera of the node: it turns an image message into messages on the output topics."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from emu_core.bags.camera_info import is_rectified_name
from emu_core.bags.images import UnsupportedImage
from emu_core.runtime.perceiver import Perceiver
from emu_perception.camera_model.metric_scale import Geometry, Lens
from emu_perception.errors import UserError
from emu_perception.messages.points import PointCloudMaker
from emu_perception.node import label_info
from emu_perception.node.frame_outputs import FrameOutputs, perceive_together
from emu_perception.node.outputs import DEPTH, OUTPUTS, published
from emu_perception.node.parameters import WRONG_QOS, Parameters
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
        self.settings, self._node = parameters.settings, node
        prefix = f"{name}/" if name else ""
        self._info_name, self._image_name = f"{prefix}camera_info", f"{prefix}image"
        self._kind = Image
        if parameters["image_transport"] == "compressed":  # next to the remapped raw image
            self._image_name = f"{node.resolve_topic_name(self._image_name)}/compressed"
            self._kind = CompressedImage
        info_topic = node.resolve_topic_name(self._info_name)
        logger = node.get_logger()
        self._log_once = LogOnce(logger.get_child(name) if name else logger)
        geometry = self._geometry(parameters["image_geometry"])
        self.lens = Lens(
            perceiver, lambda: node.count_publishers(info_topic) > 0, self._log_once, geometry
        )
        self.rectify = parameters["rectify"] and not geometry.rectified
        self.cloud = PointCloudMaker()
        self._publishers: dict[str, LifecyclePublisher] = {}
        self._with_unknown: bool | None = None
        self._create_publishers(f"~/{prefix}")
        self.subscriptions: list[AdaptiveSubscription] = []
        """To camera_info and to the images; empty while the camera is closed."""

    def open(self, callback: Callable[[Image | CompressedImage], None]) -> None:
        """Publish LabelInfo and subscribe; the callback gets the images.

        Raises:
            UserError: a wrong `qos_overrides` parameter.
        """
        self.statistics.restart()
        # LabelInfo has to come before every topic that needs it.
        self._publish_labels(self.settings().marks_unknown)
        # First camera_info: others discover it first, and the executor serves it first.
        infos = AdaptiveSubscription(self._node, CameraInfo, self._info_name, self.lens.update)
        self.subscriptions.append(infos)
        images = AdaptiveSubscription(
            self._node, self._kind, self._image_name, callback, self.statistics.count_lost
        )
        self.subscriptions.append(images)
        self._log_once.logger.info(f"waiting for {images.topic} and {infos.topic}")

    def adapt(self) -> None:
        """Follow the publishers; say once if the images come by another transport."""
        for subscription in self.subscriptions:
            subscription.adapt()
        for images in self.subscriptions[1:]:
            if hint := images.other_transport():
                self._log_once.warning("transport", f"no image on {images.topic}: {hint}")

    def close(self) -> None:
        """Unsubscribe."""
        while self.subscriptions:
            self.subscriptions.pop().close()

    def destroy(self) -> None:
        """Remove the output topics of the closed camera."""
        while self._publishers:
            self._node.destroy_lifecycle_publisher(self._publishers.popitem()[1])

    def process(self, message: Image | CompressedImage, received: float) -> None:
        """Publish the outputs for an image, `received` at a monotonic time; count its outcome."""
        self.finish(self.frame(message), received)

    def frame(self, message: Image | CompressedImage) -> FrameOutputs:
        """Begin the outputs for an image that have a subscriber; nothing is computed yet."""
        topics = [t for t, p in self._publishers.items() if p.get_subscription_count()]
        return FrameOutputs(message, self, frozenset(topics) & OUTPUTS.keys())

    def finish(self, frame: FrameOutputs, received: float) -> None:
        """Publish the outputs of a frame, and count its outcome."""
        outcome, timing = "failed", None
        try:
            timing = self._publish(frame, received)
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

    def _publish(self, frame: FrameOutputs, received: float) -> FrameTiming | None:
        """Publish all outputs that have a subscriber; None if there are none."""
        if not frame.topics:
            return None
        if not frame.header.frame_id:
            text = (
                "the images have no frame_id, which the outputs need: set it in the camera driver"
            )
            self._log_once.warning("frame_id", text)
        with_unknown = frame.unknown is not None
        if with_unknown != self._with_unknown:
            self._publish_labels(with_unknown)
        for topic, output in OUTPUTS.items():
            made = output.make(frame) if topic in frame.topics else None
            if made is not None:
                self._publishers[topic].publish(made)
        now_ns = self._node.get_clock().now().nanoseconds
        age = stamp_age(now_ns, frame.header.stamp)
        return FrameTiming(time.monotonic() - received, frame.inference_s, *age)

    def _geometry(self, choice: str) -> Geometry:
        node = self._node
        by_name = is_rectified_name(node.resolve_topic_name(self._image_name))

        def publishers() -> list[str]:
            return [info.node_name for info in node.get_publishers_info_by_topic(self._image_name)]

        rectified = by_name if choice == "auto" else choice == "rectified"
        return Geometry(rectified, choice != "auto", publishers)

    def _create_publishers(self, prefix: str) -> None:
        """Create the publishers of LabelInfo and of the outputs; they are silent at first."""
        vision_msgs = label_info.messages()
        info = self.perceiver.info
        kinds = {
            topic: (output.kind, QoSProfile(depth=DEPTH))
            for topic, output in published(info).items()
        }
        if vision_msgs is not None and "labels" in info.outputs:
            latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            kinds[label_info.TOPIC] = (vision_msgs.LabelInfo, latched)
        # The node's default group keeps references to everything that was ever in it.
        group = MutuallyExclusiveCallbackGroup()
        try:
            for topic, (kind, qos) in kinds.items():
                self._publishers[topic] = self._node.create_lifecycle_publisher(
                    kind,
                    f"{prefix}{topic}",
                    qos,
                    callback_group=group,
                    qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                )
        except WRONG_QOS as error:
            self.destroy()
            raise UserError(f"cannot create the publishers: {error}") from error

    def _publish_labels(self, with_unknown: bool) -> None:
        """Publish LabelInfo, with or without the class `unknown`."""
        self._with_unknown = with_unknown
        if label_info.TOPIC in self._publishers:
            now = self._node.get_clock().now().to_msg()
            message = label_info.message(self.perceiver.info.classes, with_unknown, now)
            self._publishers[label_info.TOPIC].publish(message)


def process_together(
    turns: Sequence[tuple[Camera, Image | CompressedImage, float]],
) -> None:
    """Call `Camera.process` for images of several cameras, with one inference for all."""
    frames = [camera.frame(message) for camera, message, _ in turns]
    perceive_together(frames)
    for (camera, _, received), frame in zip(turns, frames, strict=True):
        camera.finish(frame, received)
