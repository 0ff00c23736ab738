"""A figure of a row: mean and spread over its seeds, interval over the drives.

cell = [store.load("student", seed, "test") for seed in range(3)]
values(cell)["seg.nll"]                    # Value(mean, sd, ci95)
difference(student, single, "seg.nll")     # Difference(mean, ci95), drives drawn in pairs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from emu_core.evaluation.store import Scored

Cell = Sequence[Scored]
"""One row on one split: its seeds."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Value:
    """A figure of a row.

    Args:
        mean: over seeds, of the figures of all drives.
        sd: between seeds, of a sample; None of a single seed.
        ci95: the mean over these seeds, had other such drives been scored: percentiles of a
            bootstrap over drives; None where the figure cannot be resampled.
    """

    mean: float
    sd: float | None
    ci95: Interval | None


@dataclass(frozen=True)
class Difference:
    """What two rows differ by, and where that lies for other drives and other seeds.

    Args:
        mean: first less second.
        ci95: percentiles of a bootstrap over drives, the same for both, and over seeds.
    """

    mean: float
    ci95: Interval

    def verdict(self, better: Literal["higher", "lower"]) -> Literal["better", "worse", "open"]:
        """Whether the first is better or worse than the second, or the interval holds 0."""
        low, high = self.ci95
        if not (low > 0 or high < 0):
            return "open"
        return "better" if (low > 0) == (better == "higher") else "worse"


def values(cell: Cell) -> dict[str, Value]:
    """Every figure that all seeds of a row have and that is a number."""
    names = [n for n in cell[0].results.pooled if all(n in s.results.pooled for s in cell)]
    found = {}
    for name in names:
        figures = np.array([scored.results.pooled[name] for scored in cell])
        if not np.isfinite(figures).all():
            continue
        sd = float(figures.std(ddof=1)) if len(figures) > 1 else None
        resampled = replicates(cell, name)
        ci95 = None if resampled is None else interval(resampled)
        if ci95 is not None and not np.isfinite(ci95).all():
            ci95 = None
        found[name] = Value(float(figures.mean()), sd, ci95)
    return found


def mean(cell: Cell, name: str) -> float:
    """A figure's mean over the seeds."""
    return float(np.mean([scored.results.pooled[name] for scored in cell]))


def replicates(
    cell: Cell, name: str, draw: np.random.Generator | None = None
) -> np.ndarray | None:
    """A figure's mean over the seeds for every resample of the drives, (resamples,).

    Args:
        name: of the figure.
        draw: also draws the seeds anew for every resample; None takes each once.

    Returns:
        None if the figure has no resamples.
    """
    if any(name not in scored.resampled for scored in cell):
        return None
    table = np.stack([scored.resampled[name] for scored in cell])  # (seeds, resamples)
    if draw is None:
        return table.mean(0)
    count, resamples = table.shape
    weights = draw.multinomial(count, np.full(count, 1 / count), size=resamples) / count
    return np.einsum("sr,rs->r", table, weights)


def difference(first: Cell, second: Cell, name: str, *, paired_seeds: bool = False) -> Difference:
    """Compare two rows of one split, drives drawn in pairs, seeds as well where they are pairs.

    Args:
        name: of the figure.
        paired_seeds: seed k of both rows has the same order, augmentation and start.

    Raises:
        ValueError: the figure has no resamples, or the rows were scored on other drives.
    """
    if first[0].results.names != second[0].results.names:
        raise ValueError("Expected two rows that were scored on the same drives.")
    # The same stream draws the same seeds again.
    streams = (0, 0) if paired_seeds and len(first) == len(second) else (0, 1)
    a, b = (
        replicates(cell, name, np.random.default_rng(stream))
        for cell, stream in zip((first, second), streams, strict=True)
    )
    if a is None or b is None:
        raise ValueError(f"{name} has no resamples to draw an interval from.")
    return Difference(mean(first, name) - mean(second, name), interval(a - b))


def interval(resampled: np.ndarray) -> Interval:
    """2.5 % and 97.5 % of the resamples for which a figure exists; NaN if there are none."""
    if not np.isfinite(resampled).any():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return float(low), float(high)
