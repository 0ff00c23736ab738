"""Score perceptions against ground truth; the demo and `training/evaluate.py` share this."""

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
    """Add a frame to the metrics; its maps are resized (nearest neighbour) to the ground truth.

    Args:
        metrics, perception: Metrics to update, and maps of the frame.
        labels: True train ids, uint8 (H, W).
        depth: True depth, metres, NaN where invalid; its size may differ from that of `labels`.
    """
    p = perception
    metrics.update_labels(
        _resized(p.labels, labels.shape), _resized(p.label_uncertainty, labels.shape), labels
    )
    metrics.update_depth(_resized(p.depth, depth.shape), _resized(p.depth_std, depth.shape), depth)


def score(
    perceiver: Perceiver, samples: Iterable[Sample], max_depth: float = MAX_DEPTH
) -> PerceptionMetrics:
    """Run a model file over labelled samples, with each sample's focal length.

    `max_depth` in metres is the largest depth that is scored, and the value of missing depths.
    """
    metrics = PerceptionMetrics(len(perceiver.info.classes), max_depth)
    for sample in samples:
        perception = perceiver.perceive(np.ascontiguousarray(sample.image), sample.focal)
        score_frame(metrics, perception, sample.labels, sample.depth)
    return metrics


def _resized(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if values.shape == shape:
        return values
    return cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT)
