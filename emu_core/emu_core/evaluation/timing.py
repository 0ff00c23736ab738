"""Milliseconds per image of several methods: eager PyTorch, one image at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from math import ceil, floor, sqrt
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emu_core.evaluation.candidate import MAX_MEMORY, Candidate
from emu_core.evaluation.splits import Split, as_batch
from emu_core.evaluation.values import Value
from emu_core.files import locked, read_json, write_json
from emu_core.methods.registry import Method

TIMED_IMAGES = 21
"""Number of images; the first one warms up."""


@dataclass(frozen=True)
class Times:
    """Times of several methods that were measured together.

    Args:
        values: Method → median milliseconds per image, standard deviation between images, and the
            order statistics between which the true median lies with 95 %.
        methods: Method → `Candidate.fingerprint`.
        images: Number of images, without the one that warms up.
        threads: PyTorch's CPU threads.
        device: Device of the images.
        size: Height and width of the images.
        in_turn: Whether the methods took turns image by image. Otherwise they were timed one after
            the other, and the members of an ensemble were read again for every image.
    """

    values: dict[str, Value]
    methods: dict[str, str]
    images: int
    threads: int
    device: str
    size: tuple[int, int]
    in_turn: bool


def time_methods(
    methods: Mapping[str, Method],
    images: Sequence[Tensor],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Value]:
    """Run all methods on each image in turn, so that other load slows all of them equally.

    Args:
        methods: Methods in memory by name.
        images: Three or more, uint8 (1, 3, H, W); the first one warms up and is not counted.
        clock: Returns seconds.
    """
    taken: dict[str, list[float]] = {name: [] for name in methods}
    for image in images:
        for name, method in methods.items():
            _synchronize(image)
            start = clock()
            method(image)
            _synchronize(image)
            taken[name].append(1000 * (clock() - start))
    return {
        name: Value(float(np.median(times)), float(np.std(times, ddof=1)), *median_interval(times))
        for name, (_, *times) in taken.items()
    }


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Confidence interval of about 95 % for the median of a distribution, from its samples.

    Uses the normal approximation of the binomial distribution of ranks.
    """
    ordered, n = sorted(values), len(values)
    low = max(floor(n / 2 - 0.98 * sqrt(n)) - 1, 0)
    high = min(ceil(n / 2 + 0.98 * sqrt(n)), n - 1)
    return ordered[low], ordered[high]


def time_missing(
    candidates: Sequence[Candidate], split: Split, path: Path, device: str | torch.device = "cpu"
) -> Times:
    """Time the first seed of every method; if one is missing in `path`, time all of them again.

    Times of different hours cannot be compared, because other processes slow them down
    differently. A lock keeps two processes from timing at once.

    Args:
        candidates: Methods; only the first seed of each is timed.
        split: Its first images are used.
        path: JSON file of times.
        device: Device that the networks run on.
    """
    methods: dict[str, Candidate] = {}
    for candidate in candidates:
        methods.setdefault(candidate.name, candidate)
    prints = {name: candidate.fingerprint() for name, candidate in methods.items()}
    with locked(path.with_name(f".{path.name}.lock")):
        threads, known = torch.get_num_threads(), load_times(path)
        now = (threads, torch.device(device).type, split.size)
        if (
            known is not None
            and (known.threads, torch.device(known.device).type, known.size) == now
            and prints.items() <= known.methods.items()
        ):
            return known
        found = [as_batch(view, device) for view in islice(split, TIMED_IMAGES)]
        images = list(islice(cycle(found), TIMED_IMAGES))
        lazy = any(candidate.reads_lazily for candidate in methods.values())
        in_turn = not lazy and sum(c.size for c in methods.values()) <= MAX_MEMORY
        values: dict[str, Value] = {}
        for group in [methods] if in_turn else [{name: c} for name, c in methods.items()]:
            values |= time_methods({name: c.load(device) for name, c in group.items()}, images)
        place = (threads, str(images[0].device), split.size)
        times = Times(values, prints, len(images) - 1, *place, in_turn)
        write_json(path, asdict(times))
    return times


def load_times(path: Path) -> Times | None:
    """Read the times that `time_missing` wrote; None if there is no such file."""
    content = read_json(path) or {}
    if "values" not in content:
        return None
    values = {name: Value(*value) for name, value in content["values"].items()}
    return Times(**{**content, "values": values, "size": tuple(content["size"])})


def _synchronize(image: Tensor) -> None:
    if image.is_cuda:
        torch.cuda.synchronize(image.device)
