"""A figure of a row: mean and spread over its seeds, interval over the drives.

cell = [store.load("student", seed, "test") for seed in range(3)]
values(cell)["seg.nll"]                    # Value(mean, sd, ci95)
difference(student, single, "seg.nll")     # Difference(mean, ci95, seeds), drives drawn in pairs

Three to five seeds are too few for a bootstrap: its 95 % intervals of a difference would hold the
truth in 81 to 89 % of cases. So the drives are drawn again, and what another choice of seeds would
change is added as a t-distributed error of the mean, with the seeds' standard deviation and their
number less one degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import stdtrit

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


Seeds = Literal["own", "borrowed", "unknown"]
"""Whose standard deviation between seeds an interval holds: that of the rows' own seeds, that of
other rows' for rows of one seed, or none."""

_WEAKEST_FIRST: tuple[Seeds, ...] = ("unknown", "borrowed", "own")


@dataclass(frozen=True)
class Difference:
    """What two rows differ by, and where that lies for other drives and other seeds.

    Args:
        mean: first less second.
        ci95: percentiles of a bootstrap over drives, the same for both, with the error that few
            seeds leave.
        seeds: what of the seeds it holds; unknown: nothing, so it settles nothing.
    """

    mean: float
    ci95: Interval
    seeds: Seeds = "own"

    def verdict(self, better: Literal["higher", "lower"]) -> Literal["better", "worse", "open"]:
        """Whether the first is better or worse than the second; open where the interval holds 0,
        or where nothing is known of other seeds."""
        low, high = self.ci95
        if self.seeds == "unknown" or not (low > 0 or high < 0):
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
    return float(np.mean(pooled(cell, name)))


def replicates(cell: Cell, name: str) -> np.ndarray | None:
    """A figure's mean over the seeds for every resample of the drives, (resamples,); None if the
    figure has no resamples."""
    if any(name not in scored.resampled for scored in cell):
        return None
    return np.stack([scored.resampled[name] for scored in cell]).mean(0)


class SeedError(NamedTuple):
    """What a mean over few seeds may be off by: t-distributed."""

    scale: float
    """Standard error of the mean."""
    freedom: int
    """Degrees of freedom."""
    seeds: Seeds

    def draw(self, count: int, stream: int) -> np.ndarray:
        """So many draws, (count,): the distribution's quantiles in an order of the stream's.

        Args:
            stream: draws of one stream are the same, those of two are independent of each other
                and of the drives'.
        """
        if not self.scale:
            return np.zeros(count)
        quantiles = self.scale * stdtrit(self.freedom, (np.arange(count) + 0.5) / count)
        return np.random.default_rng([1, stream]).permutation(quantiles)


def seed_error(
    figures: Sequence[float], others: Sequence[float] = (), networks: int = 1
) -> SeedError:
    """The error of a mean over seeds.

    Args:
        figures: of the seeds.
        others: another row's, whose standard deviation serves where there is one seed alone.
        networks: how many of the other row's networks that one seed averages.
    """
    if len(figures) > 1:
        scale = float(np.std(figures, ddof=1)) / sqrt(len(figures))
        return SeedError(scale, len(figures) - 1, "own")
    if len(others) > 1:
        return SeedError(
            float(np.std(others, ddof=1)) / sqrt(networks), len(others) - 1, "borrowed"
        )
    return SeedError(0.0, 0, "unknown")


def pooled(cell: Cell, name: str) -> list[float]:
    """A figure of every seed, of all drives."""
    return [scored.results.pooled[name] for scored in cell]


def difference(
    first: Cell, second: Cell, name: str, errors: Sequence[SeedError] | None = None
) -> Difference:
    """Compare two rows of one split, drives drawn in pairs.

    Args:
        name: of the figure.
        errors: independent of each other, that few seeds leave in the difference; default: those
            of the two rows' own seeds.

    Raises:
        ValueError: the figure has no resamples, or the rows were scored on other drives.
    """
    if len({scored.results.names for scored in (*first, *second)}) > 1:
        raise ValueError("Expected two rows that were scored on the same drives.")
    a, b = replicates(first, name), replicates(second, name)
    if a is None or b is None:
        raise ValueError(f"{name} has no resamples to draw an interval from.")
    if errors is None:
        errors = [seed_error(pooled(cell, name)) for cell in (first, second)]
    drawn = a - b + sum(error.draw(len(a), stream) for stream, error in enumerate(errors))
    seeds = {error.seeds for error in errors}
    weakest = next(kind for kind in _WEAKEST_FIRST if kind in seeds)
    return Difference(mean(first, name) - mean(second, name), interval(drawn), weakest)


def interval(resampled: np.ndarray) -> Interval:
    """2.5 % and 97.5 % of the resamples for which a figure exists; NaN if there are none."""
    if not np.isfinite(resampled).any():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return float(low), float(high)
