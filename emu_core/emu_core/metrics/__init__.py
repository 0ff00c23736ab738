"""Streaming metrics of both tasks and of their uncertainties, with constant memory; NumPy only.

Every metric is `update(...)` per image, then `compute()`. Definitions: paper.md §4. Depth is
scored on every pixel with valid ground truth, whether or not there is an estimate.
"""

from emu_core.metrics.calibration import Calibration
from emu_core.metrics.certainty import Certainty
from emu_core.metrics.confusion import Confusion
from emu_core.metrics.depth import DepthErrors
from emu_core.metrics.histogram import ScoreHistogram
from emu_core.metrics.perception import PerceptionMetrics
from emu_core.metrics.ranking import RANK_BITS, ErrorRanking
from emu_core.metrics.sparsification import RiskCoverage, Sparsification

__all__ = [
    "RANK_BITS",
    "Calibration",
    "Certainty",
    "Confusion",
    "DepthErrors",
    "ErrorRanking",
    "PerceptionMetrics",
    "RiskCoverage",
    "ScoreHistogram",
    "Sparsification",
]
