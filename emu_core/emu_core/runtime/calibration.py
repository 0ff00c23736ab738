"""How a model file was calibrated: values that are folded into its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Calibration:
    """A temperature of the classes and a factor of the depth deviation.

    Args:
        temperature: T > 0; the class scores are divided by it, before the softmax.
        std_scale: Factor of the standard deviation of depth where the class is certain.
        std_doubt: What is added to that factor where the uncertainty of the class, entropy / ln C
            after the temperature, is 1; in proportion below.
        frames: Frames of the fit, as text.
        before, after: Metrics on these frames by name.
    """

    temperature: float = 1.0
    std_scale: float = 1.0
    std_doubt: float = 0.0
    frames: str = ""
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)

    def factor(self, uncertainty: np.ndarray) -> np.ndarray:
        """Factor of the deviation for the uncertainty of the class."""
        return self.std_scale + self.std_doubt * uncertainty


UNCALIBRATED = Calibration()
