"""Methods side by side on the same frames: what distillation was for, in one small table.

The whole study, with its intervals and plots, is `training/evaluate.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from emu_core.data.augment import Augmentation
from emu_core.data.sample import DataSet
from emu_core.ensembles import Method
from emu_core.metrics import StudyMetrics
from emu_core.training.loader import as_tensors

Scores = dict[str, float]

ROWS = {
    "miou": "mIoU ↑", "ece": "ECE ↓", "seg.nll": "class NLL ↓", "seg.brier": "Brier ↓",
    "seg.error_auroc": "class error AUROC ↑", "rmse": "RMSE, m ↓", "depth.nll": "depth NLL ↓",
    "depth.error_auroc": "depth error AUROC ↑", "ms_per_image": "ms per image ↓",
}  # fmt: skip
"""What the table shows, and which way is better."""


def compare(
    methods: Mapping[str, Method],
    samples: DataSet,
    augmentation: Augmentation,
    shown: Iterable[int] | None = None,
    device: str | torch.device = "cpu",
) -> dict[str, Scores]:
    """Score methods on the same frames, in metres, at the size of the networks' input.

    Args:
        methods: by name.
        samples: with ground truth.
        augmentation: how they become input; nothing of it is random here.
        shown: their indices, e.g. with a progress bar around them; None for all.
        device: where the methods are.

    Returns:
        For each method every figure of `StudyMetrics`, and `ms_per_image`.
    """
    studies = {name: StudyMetrics(len(samples.classes), samples.max_depth) for name in methods}
    times: dict[str, list[float]] = {name: [] for name in methods}
    for index in range(len(samples)) if shown is None else shown:
        batch = as_tensors(samples[index], augmentation, None)
        image, factor = batch["image"][None].to(device), float(batch["depth_factor"])
        labels, truth = batch["labels"].numpy(), batch["depth"][0].numpy() * factor
        for name, method in methods.items():
            begun = time.perf_counter()
            prediction = method(image)
            if image.is_cuda:
                torch.cuda.synchronize()
            times[name].append(1000 * (time.perf_counter() - begun))
            if prediction.probabilities is not None:
                studies[name].update_classes(_numpy(prediction.probabilities), labels)
            if prediction.depth_mean is not None and prediction.depth_variance is not None:
                mean, variance = _numpy(prediction.depth_mean), _numpy(prediction.depth_variance)
                studies[name].update_depth(mean[0] * factor, variance[0] * factor**2, truth)
    return {
        name: {**study.compute(), "ms_per_image": float(np.median(times[name]))}
        for name, study in studies.items()
    }


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean of each figure, e.g. over an ensemble's members."""
    return {name: float(np.mean([each[name] for each in scores])) for name in scores[0]}


def markdown(scores: Mapping[str, Scores]) -> str:
    """The table, one column for each method."""
    rows = [["", *scores]]
    for name, title in ROWS.items():
        if any(name in each for each in scores.values()):
            rows.append([title, *(_written(name, each.get(name)) for each in scores.values())])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    return "".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |\n"
        for row in rows
    )


def _written(name: str, value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.1f}" if name == "ms_per_image" else f"{value:.3f}"


def _numpy(maps: Tensor) -> np.ndarray:
    return maps[0].float().cpu().numpy()
