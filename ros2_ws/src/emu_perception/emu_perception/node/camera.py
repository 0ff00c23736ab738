"""One camera of the node: its topics, its lens, and how it fares."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from emu_core.runtime.perceiver import Perceiver
from emu_perception.camera_model.metric_scale import Lens
from emu_perception.messages.images import UnsupportedImage
from emu_perception.messages.points import PointCloudMaker
from emu_perception.node.frame_outputs import Answer
from emu_perception.node.label_info import LabelInfo
from emu_perception.node.log_once import Complaints
from emu_perception.node.outputs import Publishers
from emu_perception.node.parameters import Settings
from emu_perception.node.statistics import Age, Health, Timing, stamp_age
from emu_perception.node.subscription import Source


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


class Responder:
    """Answers images of one camera; no image's failure passes on.

    `answer` makes the (lazy) Answer to a message, `age` tells how old a stamp is.
    """

    def __init__(
        self,
        answer: Callable[[Any], Answer],
        publishers: Publishers,
        labels: LabelInfo,
        health: Health,
        complaints: Complaints,
        age: Callable[[Any], Age],
    ) -> None:
        self._answer, self._publishers, self._labels = answer, publishers, labels
        self._health, self._complaints, self._age = health, complaints, age

    def respond(self, message: Any, received: float) -> None:
        """Answer one message that came at `received` (monotonic), and note what it counts as."""
        outcome, timing = "failed", None
        try:
            outcome, timing = self._respond(message, received)
        except UnsupportedImage as refusal:
            outcome = "refused"
            self._health.failed(f"image refused: {refusal}")
            self._complaints.error(f"refused {refusal.kind}", f"image refused: {refusal}")
        except Exception as error:  # whatever it is, the next frame may be fine
            self._health.failed(f"a frame failed: {type(error).__name__}: {error}")
            self._complaints.error(
                f"failed {type(error).__name__}",
                f"a frame failed, the next is tried: {traceback.format_exc()}",
            )
        finally:
            self._health.finished(outcome, timing)

    def _respond(self, message: Any, received: float) -> tuple[str, Timing | None]:
        listened = self._publishers.listened()
        if not listened:
            return "unheard", None
        if not message.header.frame_id:
            self._complaints.warning(
                "frame_id",
                "the images carry no frame_id, so the answers carry none: nobody can tell where "
                "they look. Set it in the camera's driver",
            )
        answer = self._answer(message)
        self._labels.tell(answer.unknown is not None)
        for output, publisher in listened:
            made = output.make(answer)
            if made is not None:
                publisher.publish(made)
        return "answered", Timing(
            latency_s=time.monotonic() - received,
            inference_s=answer.inference_s,
            age=self._age(message.header.stamp),
        )
