"""Pixels of frames with ground truth, and what a model says about them without a calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emu_core.data.datasets import DataSet
from emu_core.data.label_space import LabelSpace
from emu_core.evaluation.progress import with_progress
from emu_core.evaluation.splits import Split, as_batch
from emu_core.labels import IGNORE
from emu_core.methods.registry import Method
from emu_core.metrics.depth import is_estimate
from emu_core.runtime.perceiver import Perceiver

PIXELS = 4000
"""Number of pixels per frame and task, for the default of `sample_pixels`."""

TINY = 1e-30
"""Smallest probability: keeps logarithms finite."""


@dataclass(frozen=True)
class Pixels:
    """Pixels with a true class or a true depth, and what the model without calibration says.

    All arrays have a length; `scores` are log probabilities of the classes (C), `depth`, `std` and
    `true_depth` metres. Without a task, its arrays are empty. `features` are those of each frame,
    see `Distance`; there is none where nothing needs them.
    """

    scores: np.ndarray  # (n, C)
    group: np.ndarray  # (n,), index of the true group of classes
    class_frame: np.ndarray  # (n,)
    groups: np.ndarray  # bool (C, G)
    depth: np.ndarray  # (m,)
    std: np.ndarray  # (m,)
    true_depth: np.ndarray  # (m,)
    depth_scores: np.ndarray  # (m, C)
    depth_frame: np.ndarray  # (m,)
    features: np.ndarray  # (frames, k)


def sample_pixels(
    perceiver: Perceiver,
    data: DataSet,
    stride: int = 1,
    count: int = PIXELS,
    seed: int = 0,
    features: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Pixels:
    """Run a model file on every `stride`-th frame, and draw pixels that have ground truth.

    Args:
        perceiver: The model, without a calibration.
        data: Frames that no training has seen.
        stride: Step between the frames.
        count: Maximum number of pixels of one frame, for each task.
        seed: Of the draws.
        features: See `open_features`.

    Raises:
        ValueError: The model has neither the output `logits` nor `depth_std`, or the frames have
            no ground truth for what it has.
    """
    info, space = perceiver.info, data.space
    if info.logits_size is None and "depth_std" not in info.outputs:
        raise ValueError(
            f"{info.path} has neither the output 'logits' nor 'depth_std': there is nothing to "
            "calibrate. Export the model again with training/export.py."
        )
    drawn = _Draws(space, len(info.classes) if info.logits_size else 0, count, seed)
    indices = range(0, len(data), stride)
    for index in with_progress(indices, data.split_title, len(indices)):
        sample = data[index]
        rgb, scores = np.ascontiguousarray(sample.image), None
        if info.logits_size is None:
            seen = perceiver.perceive(rgb, sample.focal)
        else:
            each = np.eye(len(info.classes), dtype=bool)
            seen, scores = perceiver.perceive_groups(rgb, each, sample.focal)
        drawn.add(
            scores, seen.depth, seen.depth_std, space.group_of_label[sample.labels], sample.depth
        )
        if features is not None:
            drawn.parts["features"].append(features(rgb)[None])
    return drawn.pixels(f"{data.root}, split {data.split_title}")


def sample_views(method: Method, split: Split, count: int = PIXELS, seed: int = 0) -> Pixels:
    """Predict the images of a split, and draw pixels that have ground truth.

    Args:
        method: Predicts classes, depth or both.
        split: Images that no training has seen.
        count: Maximum number of pixels of one image, for each task.
        seed: Of the draws.

    Raises:
        ValueError: The images have no ground truth for what it predicts.
    """
    drawn = None
    for view in with_progress(split, split.name, len(split)):
        prediction = method(as_batch(view, "cpu"))
        scores = depth = std = None
        if prediction.probabilities is not None:
            scores = prediction.probabilities[0].permute(1, 2, 0).numpy()
        if prediction.depth_mean is not None and prediction.depth_variance is not None:
            depth = prediction.depth_mean[0, 0].numpy() * view.depth_factor
            std = prediction.depth_variance[0, 0].sqrt().numpy() * view.depth_factor
        if drawn is None:
            drawn = _Draws(split.space, 0 if scores is None else scores.shape[-1], count, seed)
        drawn.add(scores, depth, std, view.labels, view.depth)
    if drawn is None:
        raise ValueError(f"{split.samples.root}, split {split.name}: there is no image.")
    return drawn.pixels(f"{split.samples.root}, split {split.name}")


class _Draws:
    """Pixels that were drawn from images so far."""

    def __init__(self, space: LabelSpace, classes: int, count: int, seed: int) -> None:
        self.space, self.classes, self.count = space, classes, count
        self.rng, self.frame = np.random.default_rng(seed), 0
        self.parts: dict[str, list[np.ndarray]] = {name: [] for name in Pixels.__annotations__}

    def add(
        self,
        scores: np.ndarray | None,
        depth: np.ndarray | None,
        std: np.ndarray | None,
        group: np.ndarray,
        true_depth: np.ndarray,
    ) -> None:
        """Add an image: probabilities (H, W, C), depth and deviation (H, W), and the truth."""
        parts = self.parts
        if scores is not None:
            rows, columns = _drawn(group != IGNORE, self.count, self.rng)
            parts["scores"].append(scores[_nearest(rows, columns, group.shape, scores.shape)])
            parts["group"].append(group[rows, columns])
            parts["class_frame"].append(np.full(len(rows), self.frame))
        if depth is not None and std is not None:
            rows, columns = _drawn(np.isfinite(true_depth), self.count, self.rng)
            at = _nearest(rows, columns, true_depth.shape, depth.shape)
            there = is_estimate(depth[at], std[at])
            parts["depth"].append(depth[at][there])
            parts["std"].append(std[at][there])
            parts["true_depth"].append(true_depth[rows, columns][there])
            parts["depth_frame"].append(np.full(np.count_nonzero(there), self.frame))
            found = np.ones((len(rows), 1)) if scores is None else scores[at]
            parts["depth_scores"].append(found[there])
        self.frame += 1

    def pixels(self, source: str) -> Pixels:
        """Return them; ValueError if there are none."""
        classes = self.classes or 1
        scores, of_depth = (
            np.log(np.maximum(self._joined(name, (0, classes)), TINY))
            for name in ("scores", "depth_scores")
        )
        groups = np.zeros((classes, len(self.space.groups) if self.classes else 1), bool)
        for index, group in enumerate(self.space.groups if self.classes else ()):
            groups[list(group), index] = True
        names = ("group", "class_frame", "depth_frame")
        whole = {name: self._joined(name, (0,)).astype(int) for name in names}
        metres = {name: self._joined(name, (0,)) for name in ("depth", "std", "true_depth")}
        if not len(whole["group"]) and not len(metres["depth"]):
            raise ValueError(
                f"{source}: no pixel has ground truth. Give frames with labels or depth."
            )
        features = self.parts["features"]
        each = np.concatenate(features) if features else np.zeros((self.frame, 0))
        return Pixels(
            scores=scores,
            depth_scores=of_depth,
            groups=groups,
            features=each,
            **whole,
            **metres,
        )

    def _joined(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return np.concatenate([np.zeros(shape), *self.parts[name]])


def normalized_entropy(scores: np.ndarray) -> np.ndarray:
    """Entropy / ln C of the softmax of scores (n, C): 0 to 1; 0 if there is one class."""
    if scores.shape[1] < 2:
        return np.zeros(len(scores))
    p = softmax(scores)
    return -(p * np.log(np.maximum(p, TINY))).sum(axis=1) / np.log(scores.shape[1])


def softmax(scores: np.ndarray) -> np.ndarray:
    """Softmax of each row of scores (n, C)."""
    exp = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def _drawn(mask: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Rows and columns of up to `count` true pixels of a mask, drawn without replacement."""
    there = np.flatnonzero(mask)
    chosen = rng.choice(there, min(count, len(there)), replace=False)
    return np.unravel_index(chosen, mask.shape)


def _nearest(
    rows: np.ndarray, columns: np.ndarray, of: tuple[int, ...], to: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels in maps of the size `to` for pixels in ground truth of the size `of`."""
    at = (
        np.minimum(((index + 0.5) * there / here).astype(int), there - 1)
        for index, here, there in zip((rows, columns), of, to, strict=False)
    )
    return tuple(at)  # type: ignore[return-value]
