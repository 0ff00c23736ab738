"""Scores of a method on a split, drive by drive, in memory that does not grow with the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emu_core.evaluation.candidate import Candidate, Store
from emu_core.evaluation.progress import with_progress
from emu_core.evaluation.splits import Split, View
from emu_core.methods.prediction import Prediction, grouped
from emu_core.methods.registry import Method
from emu_core.metrics import DriveResults, StudyMetrics
from emu_core.metrics.ranking import BINS
from emu_core.metrics.study import restore

_FEWEST_BINS = 256
_BATCH_PIXELS, _LARGEST_BATCH = 1 << 19, 8  # one image of 1024 × 2048 pixels, 8 small ones

_TRAINING_FIELDS = {
    "scale",
    "aspect",
    "flip",
    "jitter",
    "rescale_depth",
    "class_crops",
    "depth_limit",
}
"""Fields of an `Augmentation` that have no effect on views: random ones, and the depth limit."""


class DriveMetrics:
    """Metrics of drives that come one after the other.

    The current drive and the total each have histograms with all bins. All finished drives, which
    only a bootstrap needs, share the same number of bins. So memory does not grow with the number
    of images, nor with the number of drives (up to thousands).
    """

    def __init__(self, num_classes: int, max_depth: float, drives: int, bins: int = BINS) -> None:
        self._new = partial(StudyMetrics, num_classes, max_depth)
        self._bins, self._few_bins = bins, max(bins // max(drives, 1), _FEWEST_BINS)
        self._total = self._new(bins)
        self._finished: dict[str, StudyMetrics] = {}
        self._drive: str | None = None
        self._current = self._new(bins)

    def update(self, view: View, prediction: Prediction, place: int) -> None:
        """Add the image at a place of the batch that was predicted.

        Raises:
            ValueError: Another drive came after the image's drive.
        """
        if view.drive != self._drive:
            self._finish()
            if view.drive in self._finished:
                raise ValueError(
                    f"Expected drives one after the other, but {view.drive} comes again."
                )
            self._drive = view.drive
        if prediction.probabilities is not None:
            probabilities = _numpy(prediction.probabilities[place])
            own = prediction.class_score
            score = None if own is None else _numpy(own[place, 0])
            self._current.update_classes(probabilities, view.labels, view.objects, score)
        if prediction.depth_mean is not None and prediction.depth_variance is not None:
            factor = np.float32(view.depth_factor)
            mean = _numpy(prediction.depth_mean[place, 0]) * factor
            variance = _numpy(prediction.depth_variance[place, 0]) * factor**2
            self._current.update_depth(mean, variance, view.depth, view.objects)

    def results(self) -> DriveResults:
        """Return the scores of all images; there must be some."""
        self._finish()
        return replace(DriveResults.of(self._finished), pooled=self._total.compute())

    def _finish(self) -> None:
        if self._drive is None:
            return
        self._total.merge(self._current)
        coarse = self._new(self._few_bins)
        restore(coarse.parts(), self._current.state())
        self._finished[self._drive] = coarse
        self._current, self._drive = self._new(self._bins), None


def score(
    method: Method,
    split: Split,
    batch: int = 4,
    device: str | torch.device = "cpu",
    label: str = "",
) -> DriveResults:
    """Score a method on a split, in metres for each image's lens.

    Args:
        method: Predicts a batch of images.
        split: Images and ground truth.
        batch: Number of images that are predicted together.
        device: Device of the method's networks.
        label: Text of the progress bar on a terminal; "" for no bar.

    Raises:
        DataError: A file is missing or damaged.
    """
    metrics = DriveMetrics(len(split.space.groups), split.max_depth, len(split.drives))
    views_of = iter(split)
    batches = iter(lambda: list(islice(views_of, batch)), [])
    count = -(-len(split) // batch)
    for views in with_progress(batches, label, count) if label else batches:
        images = np.stack([view.image for view in views])  # (N,H,W,3)
        inputs = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)
        prediction = grouped(method(inputs), split.space)
        for place, view in enumerate(views):
            metrics.update(view, prediction, place)
    return metrics.results()


def score_missing(
    candidates: Sequence[Candidate],
    splits: Mapping[str, Split],
    store: Store,
    device: str | torch.device = "cpu",
) -> None:
    """Compute the scores that `store` does not hold; one candidate at a time is in memory.

    Args:
        candidates: What to score.
        splits: Splits by the names that their scores are kept under.
        store: Where scores are kept.
        device: Where the networks run.

    Raises:
        DataError: An image or its ground truth is missing or damaged.
        WeightsError: A file of a candidate is damaged.
        OSError: A file of a candidate cannot be read.
        ValueError: A candidate has the wrong number of files.
    """
    for candidate in candidates:
        missing = [n for n, s in splits.items() if not store.has(candidate, n, setting(s))]
        if not missing:
            continue
        method = candidate.load(device)
        for name in missing:
            split, label = splits[name], f"{candidate.name} {candidate.seed}, {name}"
            height, width = split.size
            batch = min(max(_BATCH_PIXELS // (height * width), 1), _LARGEST_BATCH)
            results = score(method, split, batch, device, label)
            store.keep(candidate, name, setting(split), results)


def setting(split: Split) -> dict[str, Any]:
    """Everything that scores on a split depend on, except for the method, for JSON."""
    view = {k: v for k, v in asdict(split.augmentation).items() if k not in _TRAINING_FIELDS}
    images = {"split": split.name, "images": len(split), "digest": split.digest}
    space = {} if split.space.is_identity else {"sets": list(map(list, split.space.sets))}
    return {**images, "max_depth": split.max_depth, **view, **space}


def _numpy(x: Tensor) -> np.ndarray:
    return x.float().cpu().numpy()
