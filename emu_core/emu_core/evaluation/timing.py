"""Milliseconds per image of several methods: eager PyTorch, one image at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice
from math import ceil, floor, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emu_core.evaluation.candidate import MAX_MEMORY, Candidate
from emu_core.evaluation.splits import Split
from emu_core.evaluation.values import Value, deviation
from emu_core.files import locked, read_json, write_json
from emu_core.methods.registry import Method

TIMED_IMAGES = 21
"""Number of images; the first one warms up."""


@dataclass(frozen=True)
class MethodTiming:
    """The time that a method takes for one image.

    Args:
        median: milliseconds.
        sd: standard deviation between images, 0 of one image.
        ci95: order statistics between which the true median lies with 95 %.
        images: number of times that were taken.
        threads: of PyTorch.
        device: of the images.
        size: height and width of the images.
        method: `Candidate.fingerprint`.
        in_turn: whether all methods took turns image by image; else one method was timed after
            the other, and the members of an ensemble were read again for every image.
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

    @property
    def value(self) -> Value:
        """As a metric."""
        return Value(self.median, self.sd, *self.ci95)


def time_methods(
    methods: Mapping[str, Method],
    images: Sequence[Tensor],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, MethodTiming]:
    """Time methods image by image in turn, so that other processes slow down all of them alike.

    Args:
        methods: by name, in memory.
        images: uint8 (1, 3, H, W) each; the first one warms up and is not counted.
        clock: returns seconds.

    Raises:
        ValueError: fewer than two images.
    """
    if len(images) < 2:
        raise ValueError("Expected at least two images to time methods on: the first warms up.")
    taken: dict[str, list[float]] = {name: [] for name in methods}
    for image in images:
        for name, method in methods.items():
            _synchronize(image)
            start = clock()
            method(image)
            _synchronize(image)
            taken[name].append(1000 * (clock() - start))
    return {name: _timing(times[1:], images[0]) for name, times in taken.items()}


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Values between which the median of their distribution lies with at least some 95 %.

    Uses the normal approximation of the binomial distribution of ranks.
    """
    ordered, n = sorted(values), len(values)
    low = max(floor(n / 2 - 0.98 * sqrt(n)) - 1, 0)
    high = min(ceil(n / 2 + 0.98 * sqrt(n)), n - 1)
    return ordered[low], ordered[high]


def time_missing(
    candidates: Sequence[Candidate],
    split: Split,
    path: Path,
    device: str | torch.device = "cpu",
) -> dict[str, MethodTiming]:
    """Time the first seed of every method; if one is missing in `path`, time all of them again.

    Times of different hours cannot be compared, because other processes slow them down
    differently. A lock keeps two processes from timing at once.

    Args:
        candidates: the methods; only the first seed of each is timed.
        split: its first images are used.
        path: JSON file of times.
        device: where the networks run.

    Returns:
        Method → time.
    """
    with locked(path.with_name(f".{path.name}.lock")):
        methods = _first_seeds(candidates)
        known = _known_times(methods, split, path, device)
        if known is not None:
            return known
        images = _images(split, device)
        in_turn = sum(c.size for c in methods.values()) <= MAX_MEMORY and not any(
            c.reads_lazily for c in methods.values()
        )
        groups = [methods] if in_turn else [{name: c} for name, c in methods.items()]
        timings = {}
        for group in groups:
            found = time_methods({name: c.load(device) for name, c in group.items()}, images)
            for name, timing in found.items():
                of_method = methods[name].fingerprint()
                timings[name] = replace(timing, method=of_method, in_turn=in_turn)
        write_json(path, {name: asdict(timing) for name, timing in timings.items()})
    return timings


def load_timings(path: Path) -> dict[str, MethodTiming]:
    """Read the times that `time_missing` wrote; none if there is no such file."""
    content: dict[str, dict[str, Any]] = read_json(path) or {}
    for timing in content.values():
        timing |= {name: tuple(v) for name, v in timing.items() if isinstance(v, list)}
    return {name: MethodTiming(**timing) for name, timing in content.items()}


def _known_times(
    methods: Mapping[str, Candidate], split: Split, path: Path, device: str | torch.device
) -> dict[str, MethodTiming] | None:
    """Times of these files at this size on these threads; None unless there are all of them."""
    known, found = load_timings(path), {}
    for name, candidate in methods.items():
        timing = known.get(name)
        if (
            timing is None
            or timing.method != candidate.fingerprint()
            or timing.threads != torch.get_num_threads()
            or timing.size != split.size
            or torch.device(timing.device).type != torch.device(device).type
        ):
            return None
        found[name] = timing
    return found


def _first_seeds(candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(candidate.name, candidate)
    return first


def _images(split: Split, device: str | torch.device) -> list[Tensor]:
    """`TIMED_IMAGES` images, uint8 (1, 3, H, W); repeated where a split has fewer."""
    found = [
        torch.from_numpy(view.image).permute(2, 0, 1)[None].contiguous().to(device)
        for view in islice(split, TIMED_IMAGES)
    ]
    return list(islice(cycle(found), TIMED_IMAGES))


def _timing(times: list[float], image: Tensor) -> MethodTiming:
    return MethodTiming(
        float(np.median(times)),
        deviation(times) if len(times) > 1 else 0.0,
        median_interval(times),
        len(times),
        torch.get_num_threads(),
        str(image.device),
        (image.shape[-2], image.shape[-1]),
    )


def _synchronize(image: Tensor) -> None:
    if image.is_cuda:
        torch.cuda.synchronize(image.device)
