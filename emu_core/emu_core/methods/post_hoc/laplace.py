"""Last-layer Laplace approximation: a Gaussian over the weights of both last layers.

    curvature = CurvatureSums.of(network)
    for images, labels, depth in batches:
        curvature.add(images, labels, depth)
    CURVATURE.save(curvature.posterior(), weights)    # beside the weights
    method = load_method("laplace", [weights])

The prior of every weight is a Gaussian with precision `PRIOR_PRECISION`; the trained weights count
as the most probable ones. Classes: the generalised Gauss-Newton matrix as a Kronecker product, and
MacKay's probit approximation of the softmax (Daxberger et al., NeurIPS 2021). Depth: the mean is
linear in the weights of its last layer, so the posterior is that of Bayesian linear regression
with the predicted variances as noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emu_core.methods.base import NetworkMethod, image_size, to_input
from emu_core.methods.post_hoc.fitted_file import FittedFile
from emu_core.methods.prediction import Prediction, activate, upsample
from emu_core.methods.registry import METHODS, LoadOptions, MethodKind
from emu_core.networks.decoder import AllMLPDecoder
from emu_core.networks.models import VARIANCE_UNIT, Network, RawOutputs
from emu_core.networks.weights import load_model

PRIOR_PRECISION = 1.0
"""Precision of the prior of each weight, as Daxberger et al. set it by default."""

_MIN_VARIANCE = 1e-4
"""Added to the predicted variance of depth, m², as in the loss."""


@dataclass
class CurvatureSums:
    """Sums over training pixels, float64. Features have a 1 at their end for the bias.

    Args:
        network: The network.
        pixels: Number of labelled pixels.
        class_inputs: Sum of the outer products of their features, (D + 1, D + 1).
        class_outputs: Sum of diag(p) − p·pᵀ over them, (C, C).
        depth_inputs: Sum of the outer products of the features of measured pixels, each divided by
            the predicted variance in m², (D + 1, D + 1).
    """

    network: Network
    pixels: int
    class_inputs: Tensor
    class_outputs: Tensor
    depth_inputs: Tensor

    @classmethod
    def of(cls, network: Network) -> CurvatureSums:
        """Start with no pixel; ValueError for a network that is folded or evidential."""
        decoders = (network.segmentation_decoder, network.depth_decoder)
        folded = any(d is not None and not isinstance(d, AllMLPDecoder) for d in decoders)
        if folded or network.evidential:
            raise ValueError(
                "The Laplace approximation needs a network with unfolded decoders that is not "
                "evidential."
            )
        width, classes = network.encoder.sizes.decoder_width + 1, network.num_classes or 0
        shapes = ((width, width), (classes, classes), (width, width))
        zeros = (torch.zeros(shape, dtype=torch.float64) for shape in shapes)
        return cls(network.eval(), 0, *zeros)

    @torch.no_grad()
    def add(self, images: Tensor, labels: Tensor, depth: Tensor) -> None:
        """Add the pixels of images, uint8 (N, 3, H, W), that have ground truth.

        Args:
            images: RGB.
            labels: Train ids (N, H, W); larger values do not count.
            depth: Canonical metres (N, 1, H, W), NaN where invalid.
        """
        stages = self.network.encoder(to_input(images))
        segmentation, regression = self.network.segmentation_decoder, self.network.depth_decoder
        if isinstance(segmentation, AllMLPDecoder):
            features = segmentation.fuse_features(stages)
            known = _nearest(labels[:, None], features).flatten() < len(self.class_outputs)
            rows = _with_one(features).flatten(0, 2)[known]
            p = _rows(segmentation.read_out(features))[known].double().softmax(dim=1)
            self.pixels += len(rows)
            self.class_inputs += rows.T @ rows
            self.class_outputs += p.sum(dim=0).diag() - p.T @ p
        if isinstance(regression, AllMLPDecoder):
            features = regression.fuse_features(stages)
            measured = _nearest(depth, features).flatten().isfinite()
            rows = _with_one(features).flatten(0, 2)[measured]
            raw = _rows(regression.read_out(features))[measured].double()
            noise = F.softplus(raw[:, 1:]) * VARIANCE_UNIT + _MIN_VARIANCE
            self.depth_inputs += rows.T @ (rows / noise)

    def posterior(self, prior_precision: float = PRIOR_PRECISION) -> dict[str, Tensor]:
        """Compute what predictions need.

        Returns:
            For classes: `class_basis` (D + 1, D + 1), `class_outputs` (C, C) and
            `class_variances` (C, D + 1): with u = featureᵀ·class_basis, the covariance of the
            logits is O·diag(class_variances·u²)·Oᵀ, where O is `class_outputs`. For depth:
            `depth_root` (D + 1, D + 1): the variance of the mean is |featureᵀ·depth_root|², m².
        """
        found = {}
        if self.network.segmentation_decoder is not None:
            # The Kronecker product of sum and mean equals the sum of products if both factors are
            # independent of each other.
            inputs, basis = torch.linalg.eigh(self.class_inputs)
            outputs, directions = torch.linalg.eigh(self.class_outputs / max(self.pixels, 1))
            curvature = torch.outer(outputs.clamp_min(0), inputs.clamp_min(0))
            found["class_basis"], found["class_outputs"] = basis, directions
            found["class_variances"] = 1 / (curvature + prior_precision)
        if self.network.depth_decoder is not None:
            values, vectors = torch.linalg.eigh(self.depth_inputs)
            found["depth_root"] = vectors / (values.clamp_min(0) + prior_precision).sqrt()
        return {name: x.float().contiguous() for name, x in found.items()}


CURVATURE = FittedFile("laplace", "the curvature of the loss on training frames")
"""The file of `CurvatureSums.posterior`."""


class LastLayerLaplace(NetworkMethod):
    """One pass of one network, whose last layers have a posterior.

    The variance of the mean depth is its epistemic part. Depth keeps its mean; the probabilities
    become less certain where the logits are uncertain.

    Args:
        network: The network.
        posterior: See `CurvatureSums.posterior`.
    """

    def __init__(self, network: Network, posterior: dict[str, Tensor]) -> None:
        super().__init__([network])
        self.posterior = posterior

    def to(self, device: str | torch.device) -> None:
        super().to(device)
        self.posterior = {name: x.to(device) for name, x in self.posterior.items()}

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Prediction:
        (network,) = self.networks
        stages, size = network.encoder(to_input(images)), image_size(images)
        logits, _ = self._run(network.segmentation_decoder, stages, self._probit)
        depth, of_mean = self._run(network.depth_decoder, stages, self._variance_of_mean)
        prediction = activate(upsample(RawOutputs(logits, depth), size))
        if of_mean is None:
            return prediction
        epistemic = F.interpolate(of_mean, size=size, mode="bilinear", align_corners=False)
        aleatoric = prediction.depth_variance
        assert aleatoric is not None
        return replace(
            prediction,
            depth_variance=aleatoric + epistemic,
            depth_aleatoric=aleatoric,
            depth_epistemic=epistemic,
        )

    def _run(self, decoder: nn.Module | None, stages: Sequence[Tensor], adjust):
        if not isinstance(decoder, AllMLPDecoder):
            return None, None
        features = decoder.fuse_features(stages)
        return adjust(_with_one(features).float(), decoder.read_out(features))

    def _probit(self, rows: Tensor, logits: Tensor) -> tuple[Tensor, None]:
        """Divide the logits (N, C, h, w) by √(1 + π/8 · their variance)."""
        variance = logit_variances(rows, self.posterior).movedim(-1, 1)
        return logits / (1 + math.pi / 8 * variance).sqrt(), None

    def _variance_of_mean(self, rows: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        variance = (rows @ self.posterior["depth_root"]).square().sum(dim=-1)
        return raw, variance[:, None]


def logit_variances(rows: Tensor, posterior: dict[str, Tensor]) -> Tensor:
    """Compute the variances (…, C) of the logits of features with a 1, (…, D + 1)."""
    along = (rows @ posterior["class_basis"]).square() @ posterior["class_variances"].T
    return along @ posterior["class_outputs"].square().T


def _rows(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _with_one(features: Tensor) -> Tensor:
    """Features (N, D, h, w) as (N, h, w, D + 1) in double precision, with a 1 at the end."""
    return F.pad(features.permute(0, 2, 3, 1).double(), (0, 1), value=1.0)


def _nearest(truth: Tensor, features: Tensor) -> Tensor:
    """The ground truth (N, 1, H, W) at the centre of each feature."""
    return F.interpolate(truth.float(), features.shape[2:], mode="nearest-exact")


def _load(paths: Sequence[Path], options: LoadOptions) -> LastLayerLaplace:
    posterior = CURVATURE.read("laplace", paths[0])
    method = LastLayerLaplace(load_model(paths[0])[0], posterior)
    method.to(options.device)
    return method


METHODS.add("laplace", MethodKind("Last-layer Laplace", _load, beside=CURVATURE.path))
