"""The node `emu_perception`: puts camera, lens, model and topics together."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from emu_core.model_file import ModelError
from emu_core.perceiver import Perceiver, ProviderError

from .answer import Answer
from .command_line import UserError
from .complaints import Complaints
from .lens import Lens
from .outputs import Publishers, outputs
from .parameters import declare_parameters
from .source import Source
from .worker import Worker

NAME = "emu_perception"


class CameraNode(Node):
    """Semantics, depth and the uncertainty of both, for one camera.

    Parameters
    ----------
    See `emu_perception.parameters`.

    Subscribers
    -----------
    image : sensor_msgs/Image, or image/compressed : sensor_msgs/CompressedImage
    camera_info : sensor_msgs/CameraInfo, optional

    Publishers
    ----------
    See `emu_perception.outputs`.

    Raises
    ------
    UserError
        A parameter or the model file is wrong, or the provider cannot be had.
    """

    def __init__(self) -> None:
        super().__init__(NAME)
        values = declare_parameters(self)
        complaints = Complaints(self.get_logger())
        perceiver = self._load(values)
        info_topic = self.resolve_topic_name("camera_info")
        lens = Lens(
            perceiver,
            lambda: self.count_publishers(info_topic) > 0,
            self.get_logger(),
            complaints,
        )
        self._outputs = Publishers(self, outputs(values["jpeg_quality"]))
        self._worker = Worker(
            partial(Answer, perceiver=perceiver, lens=lens, overlay_alpha=values["overlay_alpha"]),
            self._outputs,
            complaints,
        )
        # Before the image's: others see it first, and the executor serves it first.
        self._info = Source(self, CameraInfo, info_topic, lens.take)
        kind: type = Image
        image_topic = self.resolve_topic_name("image")
        if values["image_transport"] == "compressed":
            kind, image_topic = CompressedImage, f"{image_topic}/compressed"
        self._images = Source(self, kind, image_topic, self._worker.put)
        self.get_logger().info(f"waiting for {image_topic} and {info_topic}")

    def close(self) -> str:
        """Finish the frame at hand and tell what became of all of them."""
        self._images.close()
        self._info.close()
        self._worker.close()
        counts = ", ".join(f"{count} {kind}" for kind, count in self._worker.counts().items())
        return f"frames: {counts}"

    def _load(self, values: dict[str, Any]) -> Perceiver:
        start = time.perf_counter()
        try:
            perceiver = Perceiver(
                Path(values["model"]).expanduser() if values["model"] else None,
                provider=values["provider"],
                threads=values["threads"] or None,
                fit=values["fit"],
                allow_cpu_fallback=values["allow_cpu_fallback"],
            )
            perceiver.verify()  # and a warm-up
        except (ModelError, ProviderError) as error:
            raise UserError(str(error)) from error
        info = perceiver.info
        self.get_logger().info(
            f"model {info.name} ({info.path}, sha256 {info.sha256[:12]}), "
            f"{info.input_size[1]}x{info.input_size[0]} {info.precision}, provider "
            f"{perceiver.provider}, loaded and checked in {time.perf_counter() - start:.2f} s"
        )
        if perceiver.provider != values["provider"]:
            self.get_logger().error(
                f"the provider {values['provider']} cannot be had: running on {perceiver.provider}"
            )
        return perceiver
