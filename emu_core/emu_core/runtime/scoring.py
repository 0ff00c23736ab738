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

    Maps that the model does not have are not scored.

    Args:
        metrics, perception: Metrics to update, and maps of the frame.
        labels: True train ids, uint8 (H, W).
        depth: True depth, metres, NaN where invalid; its size may differ from that of `labels`.
    """
    p = perception
    if p.labels is not None and p.label_uncertainty is not None:
        uncertainty = _resized(p.label_uncertainty, labels.shape)
        metrics.update_labels(_resized(p.labels, labels.shape), uncertainty, labels)
    if p.depth is not None:
        at_truth = _resized(p.depth, depth.shape)
        std = None if p.depth_std is None else _resized(p.depth_std, depth.shape)
        metrics.update_depth(at_truth, std, depth)
        of_class = p.label_uncertainty
        doubt = None if of_class is None else _resized(of_class, depth.shape)
        metrics.update_infinite(at_truth, doubt, depth)


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
    metrics = PerceptionMetrics(len(space.groups), max_depth, outputs=perceiver.info.outputs)
    for sample in samples:
        perception = perceiver.perceive(np.ascontiguousarray(sample.image), sample.focal)
        if perception.labels is not None:
            perception = replace(perception, labels=space.group_of_class[perception.labels])
        score_frame(metrics, perception, space.group_of_label[sample.labels], sample.depth)
    return metrics


def _resized(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if values.shape == shape:
        return values
    return cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT)
