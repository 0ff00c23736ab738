"""One camera of the node: its topics, its lens, and how it fares."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from emu_core.perceiver import Perceiver

from .answer import Answer
from .clocks import stamp_age
from .complaints import Complaints
from .health import Health
from .label_info import LabelInfo
from .lens import Lens
from .outputs import Publishers
from .points import PointCloudMaker
from .responder import Responder
from .settings import Settings
from .source import Source


class Camera:
    """Made when the node configures; `open` and `close` follow its activations.

    Parameters
    ----------
    name : prefix of its topics; empty for a node's only camera.
    health : outlives this object.
    compressed : whether it sends CompressedImage.
    rectify : whether its images are straightened first.
    settings : what holds for the next frame.

    Raises
    ------
    UserError
        Wrong `qos_overrides`.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        perceiver: Perceiver,
        health: Health,
        *,
        compressed: bool,
        rectify: bool,
        settings: Callable[[], Settings],
    ) -> None:
        self.name, self.health = name, health
        self._node, self._settings = node, settings
        prefix = f"{name}/" if name else ""
        self._info_name, self._image_name = f"{prefix}camera_info", f"{prefix}image"
        if compressed:  # beside where the raw image is remapped to
            self._image_name = f"{node.resolve_topic_name(self._image_name)}/compressed"
        info_topic = node.resolve_topic_name(self._info_name)
        self._kind: type = CompressedImage if compressed else Image
        logger = node.get_logger().get_child(name) if name else node.get_logger()
        complaints = Complaints(logger)
        self.lens = Lens(
            perceiver,
            lambda: node.count_publishers(info_topic) > 0,
            logger,
            complaints,
        )
        self._publishers = Publishers(node, f"~/{prefix}")
        self._labels = LabelInfo(self._publishers.label_info, perceiver.info.classes)
        self.responder = Responder(
            partial(self._answer, perceiver, PointCloudMaker(rectify), rectify),
            self._publishers,
            self._labels,
            health,
            complaints,
            lambda stamp: stamp_age(node.get_clock().now().nanoseconds, stamp),
        )
        self._logger = logger
        self.infos: Source | None = None
        self.images: Source | None = None

    def tell_labels(self) -> None:
        """Publish LabelInfo, which must come before anything that needs it."""
        self._labels.tell(self._settings().names_unknown, again=True)

    def open(self, take: Callable[[Any], None]) -> None:
        """Subscribe; `take` gets the images. UserError for wrong `qos_overrides`."""
        self.health.activated()
        # Before the image's: others see it first, and the executor serves it first.
        self.infos = Source(self._node, CameraInfo, self._info_name, self.lens.take)
        self.images = Source(self._node, self._kind, self._image_name, take, lost=self.health.lost)
        self._logger.info(f"waiting for {self.images.topic} and {self.infos.topic}")

    def adapt(self) -> None:
        """Follow what the publishers offer; once a second."""
        for source in filter(None, (self.infos, self.images)):
            source.adapt()

    def close(self) -> None:
        """Take no more images."""
        for source in filter(None, (self.images, self.infos)):
            source.close()
        self.images = self.infos = None

    def destroy(self) -> None:
        """Take the topics away."""
        self.close()
        self._publishers.close()

    def _answer(
        self, perceiver: Perceiver, cloud: PointCloudMaker, rectify: bool, message: Any
    ) -> Answer:
        return Answer(message, perceiver, self.lens, self._settings(), cloud, rectify)
