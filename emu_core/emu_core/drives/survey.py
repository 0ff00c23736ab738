"""What rendered splits hold: which classes occur, and how far a guess without an image gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from emu_core.data.cityscapes import Cityscapes, list_frames, read_png
from emu_core.data.sample import DataError, Sample
from emu_core.labels import CITYSCAPES, IGNORE

CLOSE = 1.25
"""δ1 counts pixels whose depth is wrong by less than this factor."""


@dataclass(frozen=True)
class ClassCount:
    """How many frames a split has, and in how many of them each class occurs (by its name)."""

    frames: int
    frames_with: dict[str, int]

    @property
    def missing(self) -> list[str]:
        """Classes that occur in no frame."""
        return [name for name, frames in self.frames_with.items() if not frames]


def count_classes(
    root: str | Path, split: str, progress: Callable[[], None] = lambda: None
) -> ClassCount:
    """Count in how many frames of a split each of Cityscapes' 19 classes occurs.

    Raises:
        DataError: no such split, or a damaged file.
    """
    frames = list_frames(root, split)
    seen = np.zeros(256, int)
    for frame in frames:
        ids = read_png(frame.path("gtFine"), cv2.IMREAD_GRAYSCALE)
        seen += np.bincount(ids.ravel(), minlength=256) > 0
        progress()
    pairs = zip(CITYSCAPES.names, CITYSCAPES.dataset_ids, strict=True)
    return ClassCount(len(frames), {name: int(seen[i]) for name, i in pairs})


@dataclass(frozen=True)
class PriorScores:
    """δ1, mean absolute relative error and mIoU of a per-pixel prior, each 0…1 (AbsRel above)."""

    delta1: float
    abs_rel: float
    miou: float


@dataclass(frozen=True)
class Prior:
    """Each pixel's mean depth, metres, 0 where there was none, and most frequent class, (H,W)."""

    depth: np.ndarray
    labels: np.ndarray


def learn_prior(samples: Cityscapes, stride: int = 1) -> Prior:
    """The prior of every `stride`-th frame; it looks at no image.

    Raises:
        DataError: frames of different sizes.
    """
    first = samples[0]
    shape = first.labels.shape
    total, count = np.zeros(shape), np.zeros(shape)
    classes = len(samples.classes)
    votes = np.zeros((classes + 1, *shape), np.uint32)  # the last row takes what is ignored
    rows, columns = np.indices(shape)
    for i in range(0, len(samples), stride):
        sample = _of_size(samples[i], shape)
        valid = np.isfinite(sample.depth)
        total += np.where(valid, sample.depth, 0)
        count += valid
        votes[np.minimum(sample.labels, classes), rows, columns] += 1
    labels = votes[:classes].argmax(0).astype(np.uint8)
    return Prior(total / np.maximum(count, 1), labels)


def score_prior(prior: Prior, samples: Cityscapes) -> PriorScores:
    """Score a prior on every pixel with valid ground truth; a missing depth counts as wrong.

    Raises:
        DataError: a frame's size is not the prior's.
    """
    classes = len(samples.classes)
    pixels = close = error = 0.0
    confusion = np.zeros((classes, classes))
    for i in range(len(samples)):
        sample = _of_size(samples[i], prior.labels.shape)
        valid = np.isfinite(sample.depth)
        truth, guess = sample.depth[valid], prior.depth[valid]
        pixels += truth.size
        close += np.sum((guess < CLOSE * truth) & (truth < CLOSE * guess))
        error += np.sum(np.abs(guess - truth) / truth)
        known = sample.labels != IGNORE
        pair = sample.labels[known].astype(int) * classes + prior.labels[known]
        confusion += np.bincount(pair, minlength=classes**2).reshape(classes, classes)
    hits = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hits
    iou = hits[union > 0] / union[union > 0]
    return PriorScores(close / max(pixels, 1), error / max(pixels, 1), float(iou.mean()))


def _of_size(sample: Sample, shape: tuple[int, ...]) -> Sample:
    if sample.labels.shape != shape:
        raise DataError(
            f"Frame {sample.name} is {sample.labels.shape} (H,W), others are {shape}: a per-pixel "
            "prior needs frames of one size. Render the splits with one configuration."
        )
    return sample
