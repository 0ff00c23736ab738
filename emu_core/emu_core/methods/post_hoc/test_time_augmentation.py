"""Test-time augmentation: one network on mirrored and scaled copies of an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from emu_core.methods.base import NetworkMethod, average, image_size, to_input
from emu_core.methods.prediction import Prediction, activate, upsample
from emu_core.methods.registry import METHODS, LoadOptions, MethodKind
from emu_core.networks.models import Network
from emu_core.networks.weights import load_model

SCALES = (0.75, 1.0, 1.25)
"""Scales of the copies; each comes as it is and mirrored."""

_STRIDE = 32  # of the encoder's last stage


class TestTimeAugmentation(NetworkMethod):
    """Average one network's predictions over copies of the image (Wang et al., 2019).

    Doubt that this can show is what the network says differently of a mirrored or scaled image. In
    a copy that is enlarged by s, everything looks s times nearer through the same lens, so its
    depth is multiplied by s.
    """

    __test__ = False  # not a test of pytest

    def __init__(self, network: Network, scales: Sequence[float] = SCALES) -> None:
        super().__init__([network])
        self.scales = tuple(scales)

    def samples(self, images: Tensor) -> Iterator[Prediction]:
        """Yield the prediction from each copy, for the images as they are."""
        for scale in self.scales:
            for mirrored in (False, True):
                yield self._predict(to_input(images), scale, mirrored)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Prediction:
        return average(self.samples(images))

    @torch.no_grad()
    def _predict(self, x: Tensor, scale: float, mirrored: bool) -> Prediction:
        (network,) = self.networks
        height, width = image_size(x)
        size = [max(round(n * scale / _STRIDE), 1) * _STRIDE for n in (height, width)]
        if scale != 1:
            x = F.interpolate(x, size=size, mode="bilinear", antialias=True)
        factors = (x.shape[-1] / width, x.shape[-2] / height)  # rounded to the stride
        enlarged = (factors[0] * factors[1]) ** 0.5  # as the focal length of a stretched image
        raw = network(x.flip(-1) if mirrored else x)
        if mirrored:
            raw = type(raw)(*(None if maps is None else maps.flip(-1) for maps in raw))
        prediction = activate(upsample(raw, (height, width)))
        if prediction.depth_mean is None or prediction.depth_variance is None:
            return prediction
        return Prediction(
            prediction.probabilities,
            prediction.depth_mean * enlarged,
            prediction.depth_variance * enlarged**2,
        )


def _load(paths: Sequence[Path], options: LoadOptions) -> TestTimeAugmentation:
    return TestTimeAugmentation(load_model(paths[0])[0].to(options.device))


METHODS.add("tta", MethodKind("test-time augmentation", _load))
