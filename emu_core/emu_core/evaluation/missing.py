"""Scores the methods that were not scored yet, each on every split."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from rich.progress import Progress

from emu_core.evaluation.candidate import Candidate
from emu_core.evaluation.score import score
from emu_core.evaluation.splits import Split
from emu_core.evaluation.store import Store

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
