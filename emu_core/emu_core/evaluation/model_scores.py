"""Score a model file on held-out images, as a robot receives its outputs. Needs no torch."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from emu_core.data.datasets import DATASETS, DataSet, default_root, open_dataset
from emu_core.data.sample import Sample
from emu_core.files import write_text
from emu_core.metrics import PerceptionMetrics
from emu_core.runtime.perceiver import Perceiver
from emu_core.runtime.scoring import score

Scores = Mapping[str, Any]
"""Metrics of one split by name; `iou` maps the names of classes to their IoU."""


def evaluate_model(
    model: Path | None,
    kind: str,
    root: Path | None,
    splits: Sequence[str] | None,
    *,
    max_depth: float | None = None,
    stride: int = 1,
    output: Path | None = None,
) -> None:
    """Score a model file on splits of a data set, and print the scores.

    Args:
        model: ONNX file; None for the shipped one.
        kind: data set, one of `data.datasets.DATASETS`.
        root: its folder; None for `data.datasets.default_root`.
        splits: names of the splits; None for the test split of the data set.
        max_depth: ground truth beyond it is invalid, metres; None for the data set's default.
        stride: score only every so many frames.
        output: JSON file to write.

    Raises:
        DataError: a split is missing or damaged.
        ModelError: there is no usable model.
        ValueError: model and data have different classes.
    """
    perceiver, root = Perceiver(model), root or default_root(kind)
    splits = splits or [DATASETS[kind].split_names(root).test]
    data = {split: open_dataset(kind, root, split, max_depth) for split in splits}
    farthest = next(iter(data.values())).max_depth
    print(f"{perceiver.info.name} on {root}, depth valid up to {farthest:g} m")
    metrics = {split: score_split(perceiver, data[split], stride) for split in splits}
    scores = {split: scores_of(perceiver, metrics[split]) for split in splits}
    print_scores(scores)
    bound = max(bound for of_split in metrics.values() for bound in of_split.bounds().values())
    print(f"error AUROCs rank binned scores, which changes them by at most {bound:.1g}")
    if output is not None:
        text = json.dumps(_without_nan(scores), indent=1, allow_nan=False)
        write_text(output, text + "\n")


def score_split(perceiver: Perceiver, data: DataSet, stride: int = 1) -> PerceptionMetrics:
    """Score a model on every `stride`-th frame of a split.

    Raises:
        ValueError: model and data have different classes.
    """
    of_model, of_data = perceiver.info.classes, data.classes
    if of_model.names != of_data.names:
        raise ValueError(
            f"{perceiver.info.name} names the classes of {of_model.dataset}, but the data those "
            f"of {of_data.dataset}: is --kind right?"
        )
    indices = range(0, len(data), stride)
    return score(perceiver, _with_progress(data, indices), data.max_depth)


def scores_of(perceiver: Perceiver, metrics: PerceptionMetrics) -> Scores:
    """Compute the metrics, and the IoU of every class that is in the ground truth or predicted."""
    iou = np.asarray(metrics.confusion.compute()["iou"])  # (C,), NaN for absent classes
    named = zip(perceiver.info.classes.names, iou.tolist(), strict=True)
    occurring = {name: value for name, value in named if not math.isnan(value)}
    return {**metrics.compute(), "iou": occurring}


def print_scores(scores: Mapping[str, Scores]) -> None:
    """Print one line for each metric, with one column for each split."""
    splits = list(scores)
    print(f"{'':22}" + "".join(f"{split:>10}" for split in splits))
    for name in [key for key in scores[splits[0]] if key != "iou"]:
        print(f"{name:22}" + "".join(f"{scores[split][name]:10.4f}" for split in splits))
    for name in sorted({name for split in splits for name in scores[split]["iou"]}):
        values = (scores[split]["iou"].get(name) for split in splits)
        columns = (f"{'-':>10}" if value is None else f"{value:10.4f}" for value in values)
        print(f"  IoU {name:16}" + "".join(columns))


def _with_progress(data: DataSet, indices: Sequence[int]) -> Iterator[Sample]:
    for index in track(indices, description=data.split, disable=not sys.stderr.isatty()):
        yield data[index]


def _without_nan(scores: Any) -> Any:
    """Replace NaN by None: JSON has no NaN."""
    if isinstance(scores, Mapping):
        return {name: _without_nan(value) for name, value in scores.items()}
    return scores if math.isfinite(scores) else None
