"""Score perceptions against ground truth; the demo and `training/evaluate.py` share this."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np

from emu_core.data.label_space import LabelSpace
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
    perceiver: Perceiver, samples: Iterable[Sample], space: LabelSpace, max_depth: float
) -> PerceptionMetrics:
    """Run a model file over labelled samples, with each sample's focal length.

    Args:
        perceiver: The model.
        samples: Frames with labels of the data set.
        space: Classes of the data set; the labels of the model are mapped to its groups.
        max_depth: Largest depth that is scored, metres, and the value of missing depths.
    """
    metrics = PerceptionMetrics(len(space.groups), max_depth)
    for sample in samples:
        perception = perceiver.perceive(np.ascontiguousarray(sample.image), sample.focal)
        grouped = replace(perception, labels=space.group_of_class[perception.labels])
        score_frame(metrics, grouped, space.group_of_label[sample.labels], sample.depth)
    return metrics


def _resized(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if values.shape == shape:
        return values
    return cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT)
