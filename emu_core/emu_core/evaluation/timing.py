"""Milliseconds per image of several methods side by side: one engine, one image at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, sqrt

import numpy as np
import torch
from torch import Tensor

from emu_core.methods.registry import Method


@dataclass(frozen=True)
class Timing:
    """How long a method takes for one image, in eager PyTorch.

    Args:
        median: milliseconds.
        sd: between the images' times.
        ci95: order statistics that hold the true median with 95 %; the extremes of a few times.
        images: how many times were taken.
        threads: of PyTorch.
        device: it ran on.
        size: height and width of the images.
        method: its `Candidate.fingerprint`.
        in_turn: with the other methods, image by image; else one after the other, the members of
            an ensemble read anew for every image.
    """

    median: float
    sd: float
    ci95: tuple[float, float]
    images: int
    threads: int
    device: str
    size: tuple[int, int] = (0, 0)
    method: str = ""
    in_turn: bool = True


def time_methods(
    methods: Mapping[str, Method],
    images: Sequence[Tensor],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time methods image by image in turn, so that whatever else runs slows all of them alike.

    Args:
        methods: by name, in memory.
        images: uint8 (1, 3, H, W) each; the first one warms up and is not counted.
        clock: seconds.
    """
    if len(images) < 2:
        raise ValueError("Expected at least two images to time methods on: the first warms up.")
    taken: dict[str, list[float]] = {name: [] for name in methods}
    for image in images:
        for name, method in methods.items():
            _wait(image)
            start = clock()
            method(image)
            _wait(image)
            taken[name].append(1000 * (clock() - start))
    return {name: _timing(times[1:], images[0]) for name, times in taken.items()}


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Values between which the median of their distribution lies with at least some 95 %.

    By the normal approximation of the binomial distribution of ranks.
    """
    ordered, n = sorted(values), len(values)
    low = max(floor(n / 2 - 0.98 * sqrt(n)) - 1, 0)
    high = min(ceil(n / 2 + 0.98 * sqrt(n)), n - 1)
    return ordered[low], ordered[high]


def _timing(times: list[float], image: Tensor) -> Timing:
    return Timing(
        float(np.median(times)),
        float(np.std(times, ddof=1)) if len(times) > 1 else 0.0,
        median_interval(times),
        len(times),
        torch.get_num_threads(),
        str(image.device),
        (image.shape[-2], image.shape[-1]),
    )


def _wait(image: Tensor) -> None:
    if image.is_cuda:
        torch.cuda.synchronize(image.device)
