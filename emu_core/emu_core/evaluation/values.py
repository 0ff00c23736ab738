"""Metrics over seeds and drives: means, spreads, 95 % intervals, and differences of two methods.

    values(student)["seg.nll"]                 # Value(mean, sd, low, high); student: its seeds
    difference(student, single, "seg.nll")     # Difference(mean, low, high, source)

An interval combines two parts. Drives are resampled by a bootstrap. Three to five seeds are too
few for that: intervals of a bootstrap over them hold the truth in 81 to 89 % of cases only. So the
effect of other seeds is added as a t-distributed error of the mean, from the seeds' standard
deviation and their number less one degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from emu_core.evaluation.candidate import Scored

Seeds = Sequence[Scored]
"""One method on one split: the scores of its seeds."""

Scores = Mapping[str, Mapping[str, Seeds]]
"""Split → method → seeds."""

Better = Literal["higher", "lower"]

COLUMNS = ["split", "method", "seeds", "metric", "mean", "sd", "low", "high"]
"""Of a table of metrics, in which each row is one metric of one method on one split."""

MILLISECONDS = "ms_per_image"
"""The metric for the time of one image."""

_NAN = float("nan")


class Value(NamedTuple):
    """One metric of one method.

    Args:
        mean: Over seeds, of the metric of all drives.
        sd: Sample standard deviation between seeds; NaN for a single seed.
        low, high: 95 % interval of the mean for these seeds on other drives, by a bootstrap; NaN
            where the metric cannot be resampled.
    """

    mean: float
    sd: float = _NAN
    low: float = _NAN
    high: float = _NAN


SeedSource = Literal["unknown", "borrowed", "own"]
"""Origin of the standard deviation between seeds in an interval, the weakest first: none, the
seeds of another method, the methods' own seeds."""


class Difference(NamedTuple):
    """A metric of one method less that of another.

    Args:
        mean: First less second.
        low, high: 95 % interval for other drives, the same for both methods, and other seeds.
        source: Origin of the error between seeds; unknown: the interval holds none.
    """

    mean: float
    low: float
    high: float
    source: SeedSource = "own"

    def verdict(self, better: Better) -> Literal["better", "worse", "open"]:
        """Whether the first method is better; open where the interval holds 0, or where nothing
        is known about other seeds."""
        if self.source == "unknown" or not (self.low > 0 or self.high < 0):
            return "open"
        return "better" if (self.low > 0) == (better == "higher") else "worse"


def values(seeds: Seeds) -> dict[str, Value]:
    """Every metric of a method.

    A metric is NaN unless it is finite for every seed: the mean over some of the seeds only would
    be that of another method.
    """
    found = {}
    for name in seeds[0].results.pooled:
        each = [scored.results.pooled.get(name, _NAN) for scored in seeds]
        if not np.isfinite(each).all():
            found[name] = Value(_NAN)
            continue
        bounds = _NAN, _NAN
        if all(name in scored.resampled for scored in seeds):
            bounds = interval(replicates(seeds, name))
        found[name] = Value(float(np.mean(each)), deviation(each), *bounds)
    return found


def metric_table(scores: Scores, times: Mapping[str, Value]) -> pd.DataFrame:
    """Put every metric of every method into one table with `COLUMNS`; NaN: there was no data.

    Args:
        scores: Split → method → seeds.
        times: Method → milliseconds per image.
    """
    rows = []
    for split, methods in scores.items():
        for method, seeds in methods.items():
            found = values(seeds)
            if method in times:
                found[MILLISECONDS] = times[method]
            rows += [(split, method, len(seeds), name, *value) for name, value in found.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def pooled(seeds: Seeds, name: str) -> list[float]:
    """A metric of every seed, over all drives."""
    return [scored.results.pooled[name] for scored in seeds]


def mean(seeds: Seeds, name: str) -> float:
    """A metric's mean over seeds."""
    return float(np.mean(pooled(seeds, name)))


def deviation(each: Sequence[float]) -> float:
    """Sample standard deviation, NaN of a single number."""
    return float(np.std(each, ddof=1)) if len(each) > 1 else _NAN


def replicates(seeds: Seeds, name: str) -> np.ndarray:
    """A metric's mean over seeds for every resample of the drives, (resamples,)."""
    return np.stack([scored.resampled[name] for scored in seeds]).mean(0)


class SeedError(NamedTuple):
    """The t-distributed error of a mean over few seeds.

    Args:
        scale: Standard error of the mean.
        freedom: Degrees of freedom.
        source: Whose seeds it was estimated from.
    """

    scale: float
    freedom: int
    source: SeedSource

    def draw(self, count: int, stream: int) -> np.ndarray:
        """Draw errors: quantiles of the distribution in a random order, (count,).

        Draws of different streams are independent of each other and of the drives'.
        """
        if not self.scale:
            return np.zeros(count)
        quantiles = self.scale * stdtrit(self.freedom, (np.arange(count) + 0.5) / count)
        return np.random.default_rng([1, stream]).permutation(quantiles)


def seed_error(
    each: Sequence[float], others: Sequence[float] = (), networks: int = 1
) -> SeedError:
    """Estimate the error of a mean over seeds.

    Args:
        each: A metric of the seeds.
        others: The metric of another method's seeds; their deviation is used where there is only
            one seed.
        networks: Number of the other method's networks that this one seed averages.
    """
    if len(each) > 1:
        return SeedError(deviation(each) / sqrt(len(each)), len(each) - 1, "own")
    if len(others) > 1:
        return SeedError(deviation(others) / sqrt(networks), len(others) - 1, "borrowed")
    return SeedError(0.0, 0, "unknown")


def difference(
    first: Seeds, second: Seeds, name: str, errors: Sequence[SeedError] | None = None
) -> Difference:
    """Compare two methods on one split, with the drives drawn in pairs.

    Args:
        first, second: The methods' seeds.
        name: Name of a metric that has resamples.
        errors: Independent errors between seeds; default: one from each method's own seeds.

    Raises:
        ValueError: The methods were scored on other drives.
    """
    if len({scored.results.names for scored in (*first, *second)}) > 1:
        raise ValueError("Expected two methods that were scored on the same drives.")
    if errors is None:
        errors = [seed_error(pooled(seeds, name)) for seeds in (first, second)]
    drawn = draws(first, second, name, errors)
    weakest = min((error.source for error in errors), key=get_args(SeedSource).index)
    return Difference(mean(first, name) - mean(second, name), *interval(drawn), weakest)


def draws(
    first: Seeds, second: Seeds, name: str, errors: Sequence[SeedError], stream: int = 0
) -> np.ndarray:
    """Draw differences of two methods, (resamples,), for other drives and for other seeds; the
    errors between seeds have the streams from `stream` on."""
    drawn = replicates(first, name) - replicates(second, name)
    return drawn + sum(error.draw(len(drawn), stream + k) for k, error in enumerate(errors))


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles of the finite draws, NaN if there are none."""
    finite = drawn[np.isfinite(drawn)]
    if not len(finite):
        return _NAN, _NAN
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
