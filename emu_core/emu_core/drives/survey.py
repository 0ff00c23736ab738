"""Statistics of rendered splits: class counts, and the scores of a prediction without an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from emu_core.data.cityscapes import Cityscapes, list_frames, read_png
from emu_core.data.sample import DataError, Sample
from emu_core.labels import CITYSCAPES
from emu_core.metrics import Confusion, DepthErrors


@dataclass(frozen=True)
class ClassCount:
    """Number of frames of a split, and in how many of them each class occurs, by its name."""

    frames: int
    frames_with: dict[str, int]

    @property
    def missing(self) -> list[str]:
        """Classes that occur in no frame."""
        return [name for name, frames in self.frames_with.items() if not frames]


def count_classes(root: str | Path, split: str) -> ClassCount:
    """Count the frames of a split that contain each of Cityscapes' 19 classes.

    Raises:
        DataError: the split is missing, or a file is damaged.
    """
    frames = list_frames(root, split)
    seen = np.zeros(256, int)
    for frame in frames:
        ids = read_png(frame.path("gtFine"), cv2.IMREAD_GRAYSCALE)
        seen += np.bincount(ids.ravel(), minlength=256) > 0
    pairs = zip(CITYSCAPES.names, CITYSCAPES.dataset_ids, strict=True)
    return ClassCount(len(frames), {name: int(seen[i]) for name, i in pairs})


@dataclass(frozen=True)
class PriorScores:
    """Scores of a per-pixel prior: δ1 and mIoU (0…1), and mean absolute relative error (≥ 0)."""

    delta1: float
    abs_rel: float
    miou: float


@dataclass(frozen=True)
class Prior:
    """Mean depth (metres, 0 without ground truth) and most frequent class of each pixel, (H,W)."""

    depth: np.ndarray
    labels: np.ndarray


def learn_prior(samples: Cityscapes, stride: int = 1) -> Prior:
    """Compute the prior from the ground truth of every `stride`-th frame.

    Raises:
        DataError: frames differ in size.
    """
    shape = samples[0].labels.shape
    total, count = np.zeros(shape), np.zeros(shape)
    classes = len(samples.classes)
    votes = np.zeros((classes + 1, *shape), np.uint32)  # the last row counts ignored pixels
    rows, columns = np.indices(shape)
    for i in range(0, len(samples), stride):
        sample = _check_size(samples[i], shape)
        valid = np.isfinite(sample.depth)
        total += np.where(valid, sample.depth, 0)
        count += valid
        votes[np.minimum(sample.labels, classes), rows, columns] += 1
    labels = votes[:classes].argmax(0).astype(np.uint8)
    return Prior(total / np.maximum(count, 1), labels)


def score_prior(prior: Prior, samples: Cityscapes) -> PriorScores:
    """Score a prior on every pixel with valid ground truth.

    Raises:
        DataError: a frame and the prior differ in size.
    """
    confusion, errors = Confusion(len(samples.classes)), DepthErrors(np.inf)
    # A pixel without a depth counts as an estimate of 0 m.
    depth = np.maximum(prior.depth, 1e-9)
    for i in range(len(samples)):
        sample = _check_size(samples[i], prior.labels.shape)
        confusion.update(prior.labels, sample.labels)
        errors.update(depth, sample.depth)
    scores = errors.compute()
    miou = float(confusion.compute()["miou_official"])
    return PriorScores(scores["delta1"], scores["abs_rel"], miou)


def _check_size(sample: Sample, shape: tuple[int, ...]) -> Sample:
    if sample.labels.shape != shape:
        raise DataError(
            f"Frame {sample.name} is {sample.labels.shape} (H,W), others are {shape}: a per-pixel "
            "prior needs frames of one size. Render the splits with one configuration."
        )
    return sample
