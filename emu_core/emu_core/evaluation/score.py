"""A method on a split, drive by drive, in memory that does not grow with the images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor

from emu_core.evaluation.candidate import Candidate
from emu_core.evaluation.splits import Split, View
from emu_core.evaluation.store import Store
from emu_core.methods.prediction import Prediction
from emu_core.methods.registry import Method
from emu_core.metrics import DriveResults, StudyMetrics
from emu_core.metrics.ranking import BINS
from emu_core.metrics.study import restore

_FEWEST_BINS = 256


class DriveMetrics:
    """The figures of every drive, for drives that come one after the other.

    The drive that is being counted, and the total, rank pixels in histograms as fine as
    `StudyMetrics`' own. Finished drives, which a bootstrap alone needs, share one such number of
    bins among them: so memory grows neither with images nor, before thousands, with drives.

    Args:
        num_classes: C.
        max_depth: the depth range's end, metres.
        drives: how many there will be.
        bins: of each ranking.
    """

    def __init__(self, num_classes: int, max_depth: float, drives: int, bins: int = BINS):
        self._new = partial(StudyMetrics, num_classes, max_depth)
        self._bins, self._few_bins = bins, max(bins // max(drives, 1), _FEWEST_BINS)
        self._whole = self._new(bins)
        self._finished: dict[str, StudyMetrics] = {}
        self._drive: str | None = None
        self._current = self._new(bins)

    def update(self, view: View, prediction: Prediction, place: int) -> None:
        """Add an image, the `place`-th of a batch that was predicted together.

        Raises:
            ValueError: its drive was finished before: drives come one after the other.
        """
        if view.drive != self._drive:
            self._finish()
            if view.drive in self._finished:
                raise ValueError(f"Expected drives one after the other, but {view.drive} is back.")
            self._drive = view.drive
        if prediction.probabilities is not None:
            probabilities = _numpy(prediction.probabilities[place])
            self._current.update_classes(probabilities, view.labels, view.objects)
        if prediction.depth_mean is not None and prediction.depth_variance is not None:
            mean, variance = (
                _numpy(x[place, 0]) for x in (prediction.depth_mean, prediction.depth_variance)
            )
            factor = np.float32(view.depth_factor)
            self._current.update_depth(
                mean * factor, variance * factor**2, view.depth, view.objects
            )

    def results(self) -> DriveResults:
        """What was counted.

        Raises:
            ValueError: nothing was.
        """
        self._finish()
        return replace(DriveResults.of(self._finished), pooled=self._whole.compute())

    def _finish(self) -> None:
        if self._drive is None:
            return
        self._whole.merge(self._current)
        coarse = self._new(self._few_bins)
        restore(coarse.parts(), self._current.state())
        self._finished[self._drive] = coarse
        self._current, self._drive = self._new(self._bins), None


def score(
    method: Method,
    split: Split,
    batch: int = 4,
    device: str | torch.device = "cpu",
    progress: Callable[[int], None] = lambda images: None,
) -> DriveResults:
    """Score a method on a split, in metres for each image's lens.

    Args:
        batch: images that are predicted together.
        device: where the method's networks are.
        progress: told after each batch how many images it had.

    Raises:
        DataError: a file is missing or damaged.
    """
    metrics = DriveMetrics(len(split.classes), split.max_depth, len(split.drives))
    for views in _batches(split, batch):
        images = np.stack([view.image for view in views])  # (N,H,W,3)
        prediction = method(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device))
        for place, view in enumerate(views):
            metrics.update(view, prediction, place)
        progress(len(views))
    return metrics.results()


def _batches(split: Split, size: int) -> Iterator[list[View]]:
    views = iter(split)
    while batch := list(islice(views, size)):
        yield batch


def _numpy(x: Tensor) -> np.ndarray:
    return x.float().cpu().numpy()


_PIXELS = 1 << 19

_OF_TRAINING = {"scale", "flip", "jitter", "rescale_depth", "class_crops", "depth_limit"}
"""Fields of an `Augmentation` that views do not depend on: what is random, and a limit that is
lifted."""


def score_missing(
    candidates: Sequence[Candidate],
    splits: Mapping[str, Split],
    store: Store,
    device: str | torch.device = "cpu",
) -> int:
    """Score what `store` does not hold, method by method; one method at a time is in memory.

    Args:
        splits: by the name that results are kept under.
        device: where the networks run.

    Returns:
        How many pairs of method and split were scored.

    Raises:
        DataError: an image or its truth is missing or damaged.
        WeightsError: a method's file is missing or damaged.
        ValueError: a method has the wrong number of files.
    """
    count = 0
    for candidate in candidates:
        wanted = {
            name: split
            for name, split in splits.items()
            if not store.has(candidate, name, setting(split))
        }
        if not wanted:
            continue
        method = candidate.load(device)
        for name, split in wanted.items():
            with Progress(disable=not sys.stderr.isatty(), transient=True) as bar:
                label = f"{candidate.name} {candidate.seed}, {name}"
                task = bar.add_task(label, total=len(split))
                advance = partial(bar.advance, task)
                results = score(method, split, batch_of(split), device, advance)
            store.keep(candidate, name, setting(split), results)
            count += 1
    return count


def batch_of(split: Split) -> int:
    """How many images are predicted together: one of 1024 × 2048 pixels, eight small ones."""
    height, width = split.size
    return min(max(_PIXELS // (height * width), 1), 8)


def setting(split: Split) -> dict[str, Any]:
    """What results on a split depend on, beside the method, for JSON."""
    view = {k: v for k, v in asdict(split.augmentation).items() if k not in _OF_TRAINING}
    return {
        "split": split.name,
        "images": len(split),
        "digest": split.digest,
        "max_depth": split.max_depth,
        **view,
    }
