"""Metrics of any selection of drives, for confidence intervals by a bootstrap over drives.

    results = DriveResults.of({"test3000": study_of_that_drive, …})
    results.save("de.npz")                                   # about 100 kB, without histograms
    weights = drive_weights(len(results.names), 1000, seed=0)
    results.bootstrap(weights)["seg.error_auroc"]            # (1000,)

The same weights for two methods give a paired comparison. Source: Efron and Tibshirani, An
Introduction to the Bootstrap, 1993.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emu_core.metrics.ranking import ScoreHistogram, pairs_won, without_missing
from emu_core.metrics.study import StudyMetrics, restore
from emu_core.metrics.tasks import ClassMetrics, DepthMetrics

RANKED = {
    f"{task.PREFIX}.{part}": f"{task.PREFIX}.{name}"
    for task in (ClassMetrics, DepthMetrics)
    for part, name in {
        **task.RANKED,
        "unknown": "unknown_auroc",
        "unknown_twin": "unknown_twin_auroc",
    }.items()
}
"""Histogram → its metric."""


@dataclass(frozen=True)
class DriveResults:
    """Contribution of each drive to every metric: sums, and pairs of pixels for rankings.

    For any weights of the drives `compute` gives all metrics of `StudyMetrics.compute`, except for
    average precision, FPR95 and the error bounds, which are not sums over drives: `pooled` has
    them for all drives together.
    """

    names: tuple[str, ...]
    num_classes: int
    max_depth: float
    sums: dict[str, np.ndarray]  # `PART.NAME` → (drives, …)
    pairs: dict[
        str, np.ndarray
    ]  # `PART.won` (drives, drives), `.positives`, `.negatives` (drives,)
    pooled: dict[str, float]  # `StudyMetrics.compute` of all drives together

    @classmethod
    def of(cls, drives: Mapping[str, StudyMetrics]) -> DriveResults:
        """Collect the results of single drives.

        Raises:
            ValueError: there is no drive, or drives differ in classes or depth range.
        """
        if not drives:
            raise ValueError("Expected at least one drive, but got none.")
        first, *_ = drives.values()
        total = StudyMetrics(first.num_classes, first.max_depth)
        for study in drives.values():
            total.merge(study)
        parts = [study.parts() for study in drives.values()]
        sums: dict[str, np.ndarray] = {}
        pairs: dict[str, np.ndarray] = {}
        for part, accumulator in total.parts().items():
            each = [parts_of_drive[part] for parts_of_drive in parts]
            if isinstance(accumulator, ScoreHistogram):
                bins = [h.bins() for h in each if isinstance(h, ScoreHistogram)]
                pairs[f"{part}.won"] = pairs_won(bins, accumulator.bins())
                pairs[f"{part}.positives"] = np.array([b.positives.sum() for b in bins], float)
                pairs[f"{part}.negatives"] = np.array([b.negatives.sum() for b in bins], float)
            else:
                for name in accumulator.SUMS:
                    sums[f"{part}.{name}"] = np.stack([getattr(x, name) for x in each])
        return cls(tuple(drives), total.num_classes, total.max_depth, sums, pairs, total.compute())

    def compute(self, weights: Sequence[float] | np.ndarray | None = None) -> dict[str, float]:
        """Compute the metrics of the drives with weights (drives,), e.g. how often each was drawn.

        None counts each drive once. A wrong number of weights raises ValueError.
        """
        drives = len(self.names)
        w = np.ones(drives) if weights is None else np.asarray(weights, float)
        if w.shape != (drives,):
            raise ValueError(f"Expected `weights` of {drives} drives, but got shape {w.shape}.")
        study = StudyMetrics(self.num_classes, self.max_depth)
        parts = {n: p for n, p in study.parts().items() if not isinstance(p, ScoreHistogram)}
        restore(parts, {name: np.tensordot(w, array, 1) for name, array in self.sums.items()})
        metrics = {n: value for n, value in study.compute().items() if not n.endswith("_bound")}
        for part, name in RANKED.items():
            # Absent tasks and splits without unknown objects never have these metrics.
            if name in self.pooled:
                metrics[name] = self._auroc(part, w)
        if (name := "depth.ratio_error_auroc_given") in self.pooled:
            missing = float(w @ self.sums["depth.certainty.missing"])
            metrics[name] = self._auroc("depth.errors", w, missing)
        return metrics

    def bootstrap(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Compute every metric, (resamples,), for each row of weights (resamples, drives)."""
        rows = [self.compute(row) for row in weights]
        return {name: np.array([row.get(name, np.nan) for row in rows]) for name in self.compute()}

    def save(self, path: str | Path) -> None:
        """Write as npz."""
        content = {
            **{f"sums/{name}": array for name, array in self.sums.items()},
            **{f"pairs/{name}": array for name, array in self.pairs.items()},
            **{f"pooled/{name}": np.array(value) for name, value in self.pooled.items()},
            "names": np.array(self.names),
            "num_classes": np.array(self.num_classes),
            "max_depth": np.array(self.max_depth),
        }
        with Path(path).open("wb") as file:
            np.savez_compressed(file, **content)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> DriveResults:
        """Read a file that `save` wrote; raises ValueError for another one."""
        with np.load(path) as file:
            content = dict(file)
        if "names" not in content:
            raise ValueError(f"{path} was not written by DriveResults.save: no `names`.")

        def below(folder: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(folder): v for k, v in content.items() if k.startswith(folder)}

        return cls(
            tuple(str(name) for name in content["names"]),
            int(content["num_classes"]),
            float(content["max_depth"]),
            below("sums/"),
            below("pairs/"),
            {name: float(value) for name, value in below("pooled/").items()},
        )

    def _auroc(self, part: str, w: np.ndarray, missing: float = 0.0) -> float:
        positives, negatives = (w @ self.pairs[f"{part}.{x}"] for x in ("positives", "negatives"))
        return without_missing(w @ self.pairs[f"{part}.won"] @ w, positives, negatives, missing)


def drive_weights(drives: int, resamples: int, seed: int) -> np.ndarray:
    """Draw with replacement how often each drive is in a resample: int64 (resamples, drives)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(drives, np.full(drives, 1 / drives), size=resamples)
