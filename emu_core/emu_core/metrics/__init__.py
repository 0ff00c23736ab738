"""Streaming metrics of both tasks and of their uncertainties, in constant memory; NumPy only.

Call `update(...)` for every image, then `compute()`. Definitions: docs/method.md, Metrics. Depth
is scored on every pixel with valid ground truth, also where there is no estimate.

- `PerceptionMetrics`: metrics of a robot's output (labels, metres, standard deviations).
- `StudyMetrics`: metrics of class probabilities and Gaussian depths on one split or drive.
- `DriveResults`: metrics of `StudyMetrics` for any selection of drives.
"""

from emu_core.metrics.classes import Confusion
from emu_core.metrics.depth import DepthErrors
from emu_core.metrics.drives import DriveResults, drive_weights
from emu_core.metrics.perception import PerceptionMetrics
from emu_core.metrics.road_objects import RoadObjects, road_objects
from emu_core.metrics.study import METRICS_VERSION, StudyMetrics, restore

__all__ = [
    "METRICS_VERSION",
    "Confusion",
    "DepthErrors",
    "DriveResults",
    "PerceptionMetrics",
    "RoadObjects",
    "StudyMetrics",
    "drive_weights",
    "restore",
    "road_objects",
]
