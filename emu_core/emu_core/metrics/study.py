"""All metrics of one method on one split, as a stream of images.

    study = StudyMetrics(19, max_depth=80.0)
    for sample in samples:
        study.update_classes(probabilities, labels)          # (C,H,W), (H,W)
        study.update_depth(mean, variance, truth)            # metres, m², metres (H,W)
    study.compute()["seg.error_auroc"]

Use one `StudyMetrics` per drive (or city): `merge` adds them up, `DriveResults` draws them again.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emu_core.metrics.accumulator import Accumulator
from emu_core.metrics.ranking import BINS
from emu_core.metrics.road_objects import RoadObjects
from emu_core.metrics.tasks import ClassMetrics, DepthMetrics

METRICS_VERSION = 3
"""Increase it when the definition of a metric changes: stored results are then computed again."""


class StudyMetrics:
    """Accuracy, calibration, proper scores and rankings of classes and of depth.

    A task without updates has no metrics; those of a task whose images have no truth are NaN.
    Memory does not grow with the number of images: a ranking takes at most 21 bytes per bin, twice
    that while it joins bins. There are four rankings, and four more with unknown objects.

    Args:
        num_classes, max_depth: C, and the end of the depth range in metres.
        bins: of each pooled ranking.
    """

    def __init__(self, num_classes: int, max_depth: float, bins: int = BINS):
        self.num_classes, self.max_depth = num_classes, max_depth
        self.seg = ClassMetrics(num_classes, bins)
        self.depth = DepthMetrics(max_depth, bins)

    def update_classes(
        self,
        probabilities: np.ndarray,
        truth: np.ndarray,
        objects: RoadObjects | None = None,
        score: np.ndarray | None = None,
    ) -> None:
        """Add the classes of an image.

        Args:
            probabilities: (C,H,W); with samples, their mean.
            truth: true train ids uint8 (H,W); other ids, e.g. `IGNORE`, are ignored.
            objects: where an unknown object or its twin is on the road.
            score: uncertainty that ranks the pixels (H,W), at least 0; None for the entropy.

        Raises:
            ValueError: the shapes do not match, or the values are not probabilities.
        """
        self.seg.update(probabilities, truth, objects, score)

    def update_depth(
        self,
        mean: np.ndarray,
        variance: np.ndarray,
        truth: np.ndarray,
        objects: RoadObjects | None = None,
    ) -> None:
        """Add the depth of an image.

        Args:
            mean: metres (H,W) for the focal length of the image, not the canonical one; NaN, Inf
                or ≤ 0 where there is no estimate.
            variance: predictive variance, m² (H,W), for the same focal length.
            truth: metres (H,W), NaN where it is invalid.
            objects: as in `update_classes`.

        Raises:
            ValueError: the shapes do not match, or a variance is negative.
        """
        self.depth.update(mean, variance, truth, objects)

    def compute(self) -> dict[str, float]:
        """Compute every metric by name, see `ClassMetrics.compute` and `DepthMetrics.compute`."""
        return {**self.seg.compute(), **self.depth.compute()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Compute curves for plots and the IoU of each class, prefixed by `seg.` or `depth.`."""
        return {**self.seg.arrays(), **self.depth.arrays()}

    def parts(self) -> dict[str, Accumulator]:
        """Return the accumulators by name, e.g. `seg.confusion`."""
        tasks = (self.seg, self.depth)
        return {f"{task.PREFIX}.{name}": x for task in tasks for name, x in task.parts.items()}

    def merge(self, other: StudyMetrics) -> None:
        """Add what another object has counted, e.g. on other drives.

        Raises:
            ValueError: it has other classes or another depth range.
        """
        mine, theirs = ((m.num_classes, m.max_depth) for m in (self, other))
        if mine != theirs:
            expected = f"(num_classes, max_depth) {mine}"
            raise ValueError(f"Expected `other` with {expected}, but got {theirs}.")
        parts = self.parts()
        for name, part in other.parts().items():
            parts[name].merge(part)
        self.seg.images += other.seg.images
        self.depth.images += other.depth.images

    def state(self) -> dict[str, np.ndarray]:
        """Return all sums, `PART.NAME` → array."""
        states = {part: accumulator.state() for part, accumulator in self.parts().items()}
        return {f"{part}.{name}": x for part, state in states.items() for name, x in state.items()}


def restore(parts: Mapping[str, Accumulator], state: Mapping[str, np.ndarray]) -> None:
    """Copy the arrays `PART.NAME` of a state into the accumulators."""
    for part, accumulator in parts.items():
        prefix = f"{part}."
        accumulator.restore(
            {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        )
