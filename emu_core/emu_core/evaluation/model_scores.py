"""Score a model file on held-out images, as a robot receives its outputs. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from emu_core.data.datasets import DataSet
from emu_core.evaluation.progress import with_progress
from emu_core.metrics import PerceptionMetrics
from emu_core.metrics.text import number
from emu_core.runtime.perceiver import Perceiver
from emu_core.runtime.scoring import score

Scores = Mapping[str, Any]
"""Metrics of one split by name; `iou` maps the names of classes to their IoU."""


def score_split(perceiver: Perceiver, data: DataSet, stride: int = 1) -> PerceptionMetrics:
    """Score a model on every `stride`-th frame of a split.

    Raises:
        ValueError: Model and data have different classes.
    """
    of_model, of_data = perceiver.info.classes, data.space.model
    if "labels" in perceiver.info.outputs and of_model.names != of_data.names:
        ours, theirs = (f"{', '.join(t.names)} ({t.dataset})" for t in (of_model, of_data))
        raise ValueError(
            f"{perceiver.info.name} has the classes {ours}, but the data has {theirs}: is --kind "
            "right? If it is, give --classes of the model, and --mapping of the data's classes."
        )
    indices = range(0, len(data), stride)
    frames = (data[index] for index in with_progress(indices, data.split_title, len(indices)))
    return score(perceiver, frames, data.space, data.max_depth)


def scores_of(data: DataSet, metrics: PerceptionMetrics) -> Scores:
    """Compute the metrics, and the IoU of every class that is in the ground truth or predicted."""
    if "labels" not in metrics.outputs:
        return {**metrics.compute(), "iou": {}}
    iou = np.asarray(metrics.confusion.compute()["iou"])  # (C,), NaN for absent classes
    named = zip(data.space.group_names, iou.tolist(), strict=True)
    occurring = {name: value for name, value in named if not math.isnan(value)}
    return {**metrics.compute(), "iou": occurring}


def print_scores(scores: Mapping[str, Scores]) -> None:
    """Print one line for each metric, with one column for each split."""
    splits = list(scores)
    print(f"{'':30}" + "".join(f"{split:>10}" for split in splits))
    for name in [key for key in scores[splits[0]] if key != "iou"]:
        print(f"{name:30}" + "".join(f"{number(scores[split][name], 4):>10}" for split in splits))
    for name in sorted({name for split in splits for name in scores[split]["iou"]}):
        values = (scores[split]["iou"].get(name) for split in splits)
        columns = (f"{'-':>10}" if value is None else f"{value:10.4f}" for value in values)
        print(f"  IoU {name:24}" + "".join(columns))
