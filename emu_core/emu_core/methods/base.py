"""Base classes of the methods: networks that are kept in memory, and samples that are averaged.

All methods follow one order (docs/method.md, Uncertainties): each sample's raw outputs are
upsampled, then come softmax, ReLU and softplus, then means and moments over the samples. Samples
are added up one by one, so memory does not grow with their number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from emu_core.methods.prediction import Prediction, to_prediction
from emu_core.methods.uncertainty import RunningMoments
from emu_core.networks.models import AnyOutputs, Network, normalize


class NetworkMethod(ABC):
    """A method that keeps `networks` in memory, in eval mode."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self.networks = [network.eval() for network in networks]

    @abstractmethod
    def __call__(self, images: Tensor) -> Prediction:
        """Predict for images, uint8 (N, 3, H, W), without gradients."""

    def to(self, device: str | torch.device) -> None:
        """Move the networks in memory to a device."""
        for network in self.networks:
            network.to(device)


class SampledMethod(NetworkMethod):
    """A method that averages samples, such as MC Dropout and the ensembles."""

    @abstractmethod
    def raw_outputs(self, x: Tensor) -> Iterator[AnyOutputs]:
        """Yield the raw outputs of each sample for normalised images (N, 3, H, W)."""

    def samples(self, images: Tensor) -> Iterator[Prediction]:
        """Yield the prediction of each sample for images, uint8 (N, 3, H, W)."""
        raws, size = self.raw_outputs(to_input(images)), image_size(images)
        while (sample := _next_prediction(raws, size)) is not None:
            yield sample
            del sample  # it would stay in memory while the next one is computed

    def __call__(self, images: Tensor) -> Prediction:
        return average(self.samples(images))


def average(samples: Iterable[Prediction]) -> Prediction:
    """Combine equally weighted samples: mean softmax, moments of the depth mixture.

    Raises:
        ValueError: There is no sample, or the samples do not predict the same tasks.
    """
    total: Tensor | None = None
    moments, count = RunningMoments(), 0
    for sample in samples:
        count += 1
        has = sample.probabilities is not None, sample.depth_mean is not None
        if count > 1 and has != (total is not None, moments.count > 0):
            raise ValueError(f"Sample {count - 1} does not predict the same tasks as sample 0.")
        if sample.probabilities is not None:
            total = torch.zeros_like(sample.probabilities) if total is None else total
            total += sample.probabilities
        if sample.depth_mean is not None:
            assert sample.depth_variance is not None
            moments.add(sample.depth_mean, sample.depth_variance)
        del sample  # it would stay in memory while the next one is computed
    if count == 0:
        raise ValueError("Expected at least one sample to average, but got none.")
    probabilities = None if total is None else total / count
    if moments.count == 0:
        return Prediction(probabilities)
    depth = moments.compute()
    return Prediction(probabilities, depth.mean, depth.variance, depth.aleatoric, depth.epistemic)


def to_input(images: Tensor) -> Tensor:
    """Normalise images for a network; ValueError if they are not RGB, uint8 (N, 3, H, W)."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            "Expected `images` to be RGB, uint8 (N, 3, H, W), but got "
            f"{images.dtype} {tuple(images.shape)}."
        )
    return normalize(images)


def image_size(images: Tensor) -> tuple[int, int]:
    """Height and width of images (N, 3, H, W)."""
    return images.shape[-2], images.shape[-1]


@torch.no_grad()
def _next_prediction(raws: Iterator[AnyOutputs], size: tuple[int, int]) -> Prediction | None:
    # Gradients are off only here. Around a `yield`, they would be off for the caller, too.
    raw = next(raws, None)
    return None if raw is None else to_prediction(raw, size)
