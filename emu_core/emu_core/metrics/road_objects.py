"""Regions for the detection of unknown objects on the road.

Scenes come in pairs that differ in one object: an unknown one, or at the same place an ordinary
one of the same size (the `unknown` split of the drives).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emu_core.metrics.accumulator import same_shape


class RoadObjects(NamedTuple):
    """Pixels of one image of a pair that are scored, bool (H,W) each."""

    region: np.ndarray  # the road and the object on it
    unknown: np.ndarray  # the object, if it is unknown
    known: np.ndarray  # the object, if it is the ordinary twin


def road_objects(labels: np.ndarray, mask: np.ndarray, unknown: bool, road: int) -> RoadObjects:
    """Find the pixels of one image of a pair that are scored.

    Args:
        labels: true train ids (H,W).
        mask: the object, bool or 0/255 (H,W).
        unknown: whether the object is unknown.
        road: train id of the ground below the object.
    """
    same_shape(labels=labels, mask=mask)
    there, none = mask.astype(bool), np.zeros(mask.shape, bool)
    region = (labels == road) | there
    return RoadObjects(region, *((there, none) if unknown else (none, there)))
