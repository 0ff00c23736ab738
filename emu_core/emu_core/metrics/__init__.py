"""Streaming metrics of both tasks and of their uncertainties, with constant memory; NumPy only.

Every metric is `update(...)` per image, then `compute()`. Definitions: paper.md §4. Depth is
scored on every pixel with valid ground truth, whether or not there is an estimate.

- `PerceptionMetrics`: what a robot receives (labels, metres, deviations).
- `StudyMetrics`: what a researcher asks of probabilities and Gaussians, of one split or drive.
- `DriveResults`: the latter for any selection of drives.
"""

from emu_core.metrics.certainty import Certainty
from emu_core.metrics.classes import Calibration, Confusion
from emu_core.metrics.depth import DepthErrors
from emu_core.metrics.drives import DriveResults, drive_weights
from emu_core.metrics.perception import PerceptionMetrics
from emu_core.metrics.proper import ClassScores, GaussianScores
from emu_core.metrics.ranking import ScoreHistogram
from emu_core.metrics.road_objects import RoadObjects, road_objects
from emu_core.metrics.sparsification import RiskCoverage, Sparsification
from emu_core.metrics.study import METRICS_VERSION, StudyMetrics

__all__ = [
    "METRICS_VERSION",
    "Calibration",
    "Certainty",
    "ClassScores",
    "Confusion",
    "DepthErrors",
    "DriveResults",
    "GaussianScores",
    "PerceptionMetrics",
    "RiskCoverage",
    "RoadObjects",
    "ScoreHistogram",
    "Sparsification",
    "StudyMetrics",
    "drive_weights",
    "road_objects",
]
