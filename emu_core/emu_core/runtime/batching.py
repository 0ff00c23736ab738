"""Compute the images of several cameras in one inference, where the provider gains by it.

A GPU computes one large product faster than several small ones. A CPU does not: two and four
images at once took 1.02 to 1.05 times as long as one after the other (docs/performance.md), so
there the cameras take turns. Whether a GPU gains is measured when the node is configured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from emu_core.runtime.engines import SessionEngine, open_content
from emu_core.runtime.fastest import median_ms
from emu_core.runtime.graphs.batch import batched
from emu_core.runtime.model_file import INPUT, LOGITS, ModelError, one_line
from emu_core.runtime.parity import measure_errors, violations
from emu_core.runtime.verification import decode_reference, tolerances_of

BATCHING = ("cuda", "tensorrt", "tensorrt-fp16")
"""Providers for which batches are measured."""


class BatchEngine:
    """An engine's model for several images at once.

    Args:
        engine: The engine for one image.
        count: Number of images, at least 2.

    Attributes:
        least: Number of images from which on a batch is faster than one image after the other;
            larger than `count` if there is none.
        milliseconds: Median times of one image and of a batch.

    Raises:
        ModelError: The graph cannot be changed, or it computes other results.
    """

    def __init__(self, engine: SessionEngine, count: int) -> None:
        self.count, self.info = count, engine.info
        try:
            content = batched(engine.info.path, count)
            self._session = open_content(content, engine.provider, engine.threads)
            images = self._samples()
            self._check(engine, images)
        except ModelError:
            raise
        except ImportError as error:
            raise ModelError(
                "the Python package onnx is not installed: pip install onnx"
            ) from error
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise ModelError(one_line(error)) from error
        one = median_ms(lambda: engine.run(images[0]))
        self.milliseconds = (one, median_ms(lambda: self.run(images)))
        self.least = math.floor(self.milliseconds[1] / self.milliseconds[0]) + 1

    def run(self, images: Sequence[np.ndarray], logits: bool = False) -> list[list[np.ndarray]]:
        """Compute the maps of at most `count` images, as `SessionEngine.run` does for each."""
        # A batch has a constant size: the last image fills it up.
        rows = [*images, *[images[-1]] * (self.count - len(images))]
        names = [*self.info.outputs, *([LOGITS] if logits else [])]
        results = self._session.run(names, {INPUT: np.stack(rows)})
        each: list[list[np.ndarray]] = []
        for i in range(len(images)):
            maps = [result[i] for result in results]
            each.append([*maps[:-1], maps[-1][np.newaxis]] if logits else maps)
        return each

    def _check(self, engine: SessionEngine, images: Sequence[np.ndarray]) -> None:
        """Compare the maps of different images with those of the engine for one image."""
        tolerances = tolerances_of(engine)
        for image, maps in zip(images, self.run(images), strict=True):
            expected = dict(zip(self.info.outputs, engine.run(image), strict=True))
            errors = measure_errors(dict(zip(self.info.outputs, maps, strict=True)), expected)
            if wrong := violations(errors, tolerances):
                raise ModelError(f"a batch computes other results: {', '.join(wrong)}")

    def _samples(self) -> list[np.ndarray]:
        """The file's reference image, every other one mirrored, each darker than the last."""
        picture = decode_reference(self.info)
        return [
            np.ascontiguousarray(picture[:, :: -1 if i % 2 else 1] // (1 + i // 2))
            for i in range(self.count)
        ]
