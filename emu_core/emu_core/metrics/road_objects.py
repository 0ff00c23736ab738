"""Unknown objects on the road: does an uncertainty find what no training image has shown?

Scenes come in pairs, alike but for one object: an unknown one, or at the same place an ordinary
one of the same size (the drives' `unknown` split).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emu_core.metrics.additive import same_shape
from emu_core.metrics.ranking import (
    ScoreHistogram,
    ascending,
    auroc,
    average_precision,
    false_positive_rate,
)

ROAD = (0,)
"""Train ids of Cityscapes that are the ground an object lies on: road."""


class RoadObjects(NamedTuple):
    """Where to look in one image of a pair, bool (H,W) each."""

    region: np.ndarray
    """The road, and the object that was put there."""
    unknown: np.ndarray
    """The object, if it is an unknown one."""
    known: np.ndarray
    """The object, if it is the ordinary twin."""


def road_objects(
    labels: np.ndarray, mask: np.ndarray, unknown: bool, road: tuple[int, ...] = ROAD
) -> RoadObjects:
    """Region and object of one image of a pair.

    Args:
        labels: true train ids (H,W).
        mask: the object that was put there, bool or 0/255 (H,W).
        unknown: whether it is an unknown one.
        road: train ids of the ground.
    """
    same_shape(labels=labels, mask=mask)
    there, none = mask.astype(bool), np.zeros(mask.shape, bool)
    return RoadObjects(
        np.isin(labels, road) | there, there if unknown else none, none if unknown else there
    )


class Detection:
    """Scores of unknown objects against the road around them and against ordinary objects.

    Args:
        bins: of each `ScoreHistogram`.
    """

    def __init__(self, bins: int):
        self.region = ScoreHistogram(bins)
        self.twins = ScoreHistogram(bins)

    def update(self, score: np.ndarray, objects: RoadObjects) -> None:
        """Add an image of a pair: its uncertainty (H,W), and where to look."""
        same_shape(score=score, **objects._asdict())
        for histogram, where in (
            (self.region, objects.region),
            (self.twins, objects.unknown | objects.known),
        ):
            histogram.update(ascending(score[where]), objects.unknown[where])

    def compute(self) -> dict[str, float]:
        """`unknown_auroc`, `unknown_ap`, `unknown_fpr95` of unknown objects within the region of
        both images of the pairs, each with `_bound`; `unknown_ap_random`, the positives' share;
        `unknown_twin_auroc`: unknown objects' pixels against their twins'. Empty if no unknown
        object was seen."""
        bins = self.region.bins()
        unknown, rest = int(bins.positives.sum()), int(bins.negatives.sum())
        if not unknown:
            return {}
        figures = {"unknown_ap_random": unknown / (unknown + rest)}
        for name, figure in (
            ("unknown_auroc", auroc(bins)),
            ("unknown_ap", average_precision(bins)),
            ("unknown_fpr95", false_positive_rate(bins)),
            ("unknown_twin_auroc", auroc(self.twins.bins())),
        ):
            figures[name], figures[f"{name}_bound"] = figure
        return figures
