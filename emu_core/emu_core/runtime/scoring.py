"""Score what a robot receives against ground truth; the same for the demo and for test drives."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from emu_core.data.cityscapes import MAX_DEPTH
from emu_core.data.sample import Sample
from emu_core.metrics import PerceptionMetrics
from emu_core.runtime.perceiver import Perceiver, Perception


def score_frame(
    metrics: PerceptionMetrics, perception: Perception, labels: np.ndarray, depth: np.ndarray
) -> None:
    """Add a frame, compared at the ground truth's own sizes.

    The maps are enlarged (nearest neighbour), the truth is never resampled.

    Args:
        labels: true train ids, uint8 (H, W).
        depth: true depth, metres, NaN where invalid, of its own (H, W).
    """
    p = perception
    metrics.update_labels(
        _sized(p.labels, labels.shape), _sized(p.label_uncertainty, labels.shape), labels
    )
    metrics.update_depth(_sized(p.depth, depth.shape), _sized(p.depth_std, depth.shape), depth)


def score(
    perceiver: Perceiver, samples: Iterable[Sample], max_depth: float = MAX_DEPTH
) -> PerceptionMetrics:
    """Run a model file over samples, in metres for each sample's lens.

    Args:
        max_depth: the range's end, metres; what a missing depth counts as.
    """
    metrics = PerceptionMetrics(len(perceiver.info.classes), max_depth)
    for sample in samples:
        perception = perceiver.perceive(np.ascontiguousarray(sample.image), sample.focal)
        score_frame(metrics, perception, sample.labels, sample.depth)
    return metrics


def _sized(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if values.shape == shape:
        return values
    return cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT)
