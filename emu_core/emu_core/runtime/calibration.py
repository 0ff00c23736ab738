"""How a model file was calibrated: values that are folded into its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Distance:
    """How far an image is from known ones, and what a calibration changes with that.

    Features f of an image are the means over all places of the channels of the encoder's first
    stages. The distance is √(mean(((f − mean) / scale)²)): the Mahalanobis distance (Lee et al.,
    NeurIPS 2018) with a diagonal covariance, divided by the root of the number of features, so it
    is about 1 for known images.

    Args:
        mean, scale: Mean and standard deviation of the features of known images, (n,).
        near, far: Distances. The weight of the values below is 0 up to `near`, 1 from `far` on,
            and linear between.
        temperature: T > 0 of distant images.
        std_factor: Further factor of the deviation of distant images, at least 1.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    near: float
    far: float
    temperature: float = 1.0
    std_factor: float = 1.0

    def of(self, features: np.ndarray) -> np.ndarray:
        """Distances of images with features (k, n): (k,)."""
        return np.sqrt(np.mean(((features - self.mean) / self.scale) ** 2, axis=-1))

    def weight(self, features: np.ndarray) -> np.ndarray:
        """Weights, 0 to 1, of images with features (k, n): (k,)."""
        return self.weight_at(self.of(features))

    def weight_at(self, distance: np.ndarray) -> np.ndarray:
        """Weights, 0 to 1, at distances."""
        return np.clip((distance - self.near) / (self.far - self.near), 0, 1)


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
        distance: What changes in images that are far from known ones; None for no change.
    """

    temperature: float = 1.0
    std_scale: float = 1.0
    std_doubt: float = 0.0
    frames: str = ""
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    distance: Distance | None = None

    @property
    def distant_temperature(self) -> float:
        """Temperature of distant images."""
        return self.temperature if self.distance is None else self.distance.temperature

    @property
    def distant_factor(self) -> float:
        """Further factor of the deviation of distant images."""
        return 1.0 if self.distance is None else self.distance.std_factor

    def weight(self, features: np.ndarray) -> np.ndarray:
        """Weights of the distance of images with features (k, n): (k,); 0 without a distance."""
        if self.distance is None:
            return np.zeros(len(features))
        return self.distance.weight(features)

    def temperature_at(self, weight: np.ndarray) -> np.ndarray:
        """Temperature for the weight of the image's distance."""
        return self.temperature + (self.distant_temperature - self.temperature) * weight

    def factor(self, uncertainty: np.ndarray, weight: np.ndarray | float = 0.0) -> np.ndarray:
        """Factor of the deviation for the uncertainty of the class and the image's weight."""
        distant = 1 + (self.distant_factor - 1) * weight
        return (self.std_scale + self.std_doubt * uncertainty) * distant


UNCALIBRATED = Calibration()
