"""All figures of the study for one method on one split, streaming, per task.

    study = StudyMetrics(19, max_depth=80.0)
    for sample in samples:
        study.update_classes(probabilities, labels)          # (C,H,W), (H,W)
        study.update_depth(mean, variance, truth)            # metres, m², metres (H,W)
    study.compute()["seg.error_auroc"]

One of them per drive (or per city) adds up to the whole split: `merge`, and `resampling`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emu_core.metrics.additive import Additive
from emu_core.metrics.ranking import BINS
from emu_core.metrics.road_objects import RoadObjects
from emu_core.metrics.tasks import ClassStudy, DepthStudy

METRICS_VERSION = 2
"""Raise it with every change of a figure's definition: what was scored before is scored again."""


class StudyMetrics:
    """Accuracy, calibration, proper scores and rankings of classes and of depth.

    Either task may be absent: what was never updated has no figures. Memory is constant in the
    number of images: at most 21 bytes for each of `bins`, twice that while joining them, for two
    rankings and, if there are unknown objects, four more.

    Args:
        num_classes: C.
        max_depth: the depth range's end, metres.
        bins: of each pooled ranking.
    """

    def __init__(self, num_classes: int, max_depth: float, bins: int = BINS):
        self.num_classes, self.max_depth = num_classes, max_depth
        self.seg = ClassStudy(num_classes, bins)
        self.depth = DepthStudy(max_depth, bins)

    def update_classes(
        self, probabilities: np.ndarray, truth: np.ndarray, objects: RoadObjects | None = None
    ) -> None:
        """Add an image's classes.

        Args:
            probabilities: (C,H,W), of samples their mean.
            truth: true train ids uint8 (H,W); what is no class, e.g. `IGNORE`, is not scored.
            objects: where an unknown object, or its twin, lies on the road.
        """
        self.seg.update(probabilities, truth, objects)

    def update_depth(
        self,
        mean: np.ndarray,
        variance: np.ndarray,
        truth: np.ndarray,
        objects: RoadObjects | None = None,
    ) -> None:
        """Add an image's depth.

        Args:
            mean: metres (H,W) for the image's own lens, i.e. the canonical focal length undone;
                NaN, Inf or ≤ 0 where there is no estimate.
            variance: predictive variance, m² (H,W), undone likewise.
            truth: metres (H,W), NaN where it is invalid.
            objects: where an unknown object, or its twin, lies on the road.
        """
        self.depth.update(mean, variance, truth, objects)

    def compute(self) -> dict[str, float]:
        """Every figure by name: `miou`, `accuracy`, `ece`, `ece_gap`, `rmse`, `abs_rel`,
        `delta1`…`delta3`, `depth_coverage`, and with the prefix `seg.` or `depth.` those of the
        uncertainties (`ClassStudy.compute`, `DepthStudy.compute`)."""
        return {**self.seg.compute(), **self.depth.compute()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Curves for plots and per-class figures, with the prefix `seg.` or `depth.`."""
        return {**self.seg.arrays(), **self.depth.arrays()}

    def parts(self) -> dict[str, Additive]:
        """The accumulators by name, e.g. `seg.confusion`."""
        tasks = (("seg", self.seg.parts), ("depth", self.depth.parts))
        return {f"{task}.{name}": part for task, parts in tasks for name, part in parts.items()}

    def merge(self, other: StudyMetrics) -> None:
        """Add what another one has counted, e.g. on other drives.

        Raises:
            ValueError: it is for other classes or another depth range.
        """
        mine, theirs = ((m.num_classes, m.max_depth) for m in (self, other))
        if mine != theirs:
            raise ValueError(
                f"Expected `other` with (num_classes, max_depth) {mine}, but got {theirs}."
            )
        for name, part in other.parts().items():
            self.parts()[name].merge(part)

    def state(self) -> dict[str, np.ndarray]:
        """All sums, `PART.NAME` → array, and what they are for."""
        state = {
            f"{part}.{name}": array
            for part, accumulator in self.parts().items()
            for name, array in accumulator.state().items()
        }
        state["num_classes"], state["max_depth"] = map(
            np.array, (self.num_classes, self.max_depth)
        )
        return state

    def save(self, path: str | Path) -> None:
        """Write the state as npz."""
        with Path(path).open("wb") as file:
            np.savez_compressed(file, **self.state())  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path, bins: int = BINS) -> StudyMetrics:
        """Read what `save` wrote.

        Raises:
            ValueError: the file holds something else.
        """
        with np.load(path) as file:
            state = dict(file)
        if "num_classes" not in state:
            raise ValueError(f"{path} was not written by StudyMetrics.save: no `num_classes`.")
        study = cls(int(state["num_classes"]), float(state["max_depth"]), bins)
        restore(study.parts(), state)
        return study


def restore(parts: Mapping[str, Additive], state: Mapping[str, np.ndarray]) -> None:
    """Put the arrays `PART.NAME` of a state into the accumulators."""
    for part, accumulator in parts.items():
        mine = {
            k.removeprefix(part + "."): v for k, v in state.items() if k.startswith(part + ".")
        }
        accumulator.restore(mine)
