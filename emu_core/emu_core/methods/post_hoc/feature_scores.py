"""Scores of doubt from the features of the segmentation decoder: Mahalanobis distance and NECO.

    sums = FeatureSums.of(network)
    for images, labels in batches:
        sums.add(images, labels)
    STATISTICS.save(sums.statistics(), weights)    # beside the weights
    method = load_method("mahalanobis", [weights])

The features are those before the last layer, (N, D, H/4, W/4). A pixel is doubtful if its feature
is far from those of all classes in training (`mahalanobis`; Lee et al., NeurIPS 2018), or if
little of it lies in the directions in which training features vary (`neco`; Ben Ammar et al.,
ICLR 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from emu_core.methods.base import NetworkMethod, image_size, to_input
from emu_core.methods.post_hoc.fitted_file import FittedFile
from emu_core.methods.post_hoc.scores import OFFSET
from emu_core.methods.prediction import Prediction, activate, upsample
from emu_core.methods.registry import METHODS, LoadOptions, MethodKind
from emu_core.networks.decoder import AllMLPDecoder
from emu_core.networks.models import Network
from emu_core.networks.weights import load_model

NECO_SHARE = 0.9
"""Share of the variance of the training features that the directions of NECO hold."""

_RIDGE = 1e-6
"""Added to the eigenvalues of a covariance, relative to their mean."""


@dataclass
class FeatureSums:
    """Sums over the features of labelled training pixels; float64.

    Args:
        network: The network with a segmentation decoder.
        counts: Pixels of each class (C,).
        sums: Sum of their features (C, D).
        products: Sum of the outer products of all features (D, D).
    """

    network: Network
    counts: Tensor
    sums: Tensor
    products: Tensor

    @classmethod
    def of(cls, network: Network) -> FeatureSums:
        """Start with no pixel; ValueError if the network has no segmentation decoder."""
        width = _decoder(network).head.weight.shape[1]
        classes = network.num_classes or 0
        shapes = ((classes,), (classes, width), (width, width))
        return cls(network.eval(), *(torch.zeros(shape, dtype=torch.float64) for shape in shapes))

    @torch.no_grad()
    def add(self, images: Tensor, labels: Tensor) -> None:
        """Add the pixels of images, uint8 (N, 3, H, W), that have a train id in labels (N, H, W).

        A feature belongs to the label at the centre of its 4 × 4 pixels.
        """
        features = _features(self.network, to_input(images))
        nearest = F.interpolate(labels[:, None].float(), features.shape[2:], mode="nearest-exact")
        rows = features.permute(0, 2, 3, 1).flatten(0, 2)
        classes = nearest.long().flatten()
        known = classes < len(self.counts)
        rows, classes = rows[known].double(), classes[known]
        self.counts += torch.bincount(classes, minlength=len(self.counts))
        self.sums.index_add_(0, classes, rows)
        self.products += rows.T @ rows

    def statistics(self) -> dict[str, Tensor]:
        """Compute what the scores need.

        Returns:
            `means` (C, D) of the classes, NaN for those without a pixel; `whitening` (D, D), whose
            product with a feature has the unit covariance within the classes; `center` and `scale`
            (D,) of all features; `basis` (D, d), the principal directions of the scaled features.

        Raises:
            ValueError: No pixel has a class.
        """
        total = self.counts.sum()
        if not total:
            raise ValueError("No training pixel has a class: there are no features to learn from.")
        means = self.sums / self.counts[:, None]  # NaN without a pixel
        seen = self.counts > 0
        between = (means[seen].T * self.counts[seen]) @ means[seen]
        values, vectors = torch.linalg.eigh((self.products - between) / total)
        values = values.clamp_min(0) + _RIDGE * values.mean()
        center = self.sums.sum(dim=0) / total
        covariance = self.products / total - torch.outer(center, center)
        scale = covariance.diagonal().clamp_min(0).sqrt()
        scale = torch.where(scale > 0, scale, 1.0)
        spread, directions = torch.linalg.eigh(covariance / torch.outer(scale, scale))
        shares = spread.flip(0).clamp_min(0).cumsum(0) / spread.clamp_min(0).sum()
        d = int((shares < NECO_SHARE).sum()) + 1
        found = {
            "means": means,
            "whitening": vectors / values.sqrt(),
            "center": center,
            "scale": scale,
            "basis": directions.flip(1)[:, :d],
        }
        return {name: x.float().contiguous() for name, x in found.items()}


STATISTICS = FittedFile("features", "the statistics of training features")
"""The file of `FeatureSums.statistics`."""


class FeatureScore(NetworkMethod):
    """One pass of one network, ranked by a score of its features.

    Args:
        network: The network.
        statistics: See `FeatureSums.statistics`.
        kind: mahalanobis, neco, or neco_energy, which multiplies NECO with the energy.
    """

    def __init__(self, network: Network, statistics: dict[str, Tensor], kind: str) -> None:
        super().__init__([network])
        self.statistics, self.kind = statistics, kind

    def to(self, device: str | torch.device) -> None:
        super().to(device)
        self.statistics = {name: x.to(device) for name, x in self.statistics.items()}

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Prediction:
        (network,) = self.networks
        stages = network.encoder(to_input(images))
        decoder, depth = _decoder(network), network.depth_decoder
        features = decoder.fuse_features(stages)
        logits = decoder.read_out(features)
        raw = network.interpret(logits, None if depth is None else depth(stages))
        score = self._score(features, logits)
        size = image_size(images)
        full = F.interpolate(score.float(), size=size, mode="bilinear", align_corners=False)
        return replace(activate(upsample(raw, size)), class_score=full)

    def _score(self, features: Tensor, logits: Tensor) -> Tensor:
        """Compute the score (N, 1, h, w) of features (N, D, h, w)."""
        rows = features.float().permute(0, 2, 3, 1)
        if self.kind == "mahalanobis":
            score = mahalanobis(rows, self.statistics)
        else:
            score = 1 - neco(rows, self.statistics)
            if self.kind == "neco_energy":
                score = (OFFSET - (1 - score) * logits.logsumexp(dim=1)).clamp_min(0)
        return score[:, None]


def mahalanobis(features: Tensor, statistics: dict[str, Tensor]) -> Tensor:
    """Distance of features (…, D) to the nearest class mean; one covariance for all classes."""
    means = statistics["means"]
    means = means[means.isfinite().all(dim=1)]
    center, whitening = statistics["center"], statistics["whitening"]
    points, means = ((x - center) @ whitening for x in (features, means))
    # The faster way by products loses the digits of small distances.
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(points, means, compute_mode=exact).amin(dim=-1)


def neco(features: Tensor, statistics: dict[str, Tensor]) -> Tensor:
    """Share of the length of scaled features (…, D) in the principal directions: 0 to 1."""
    scaled = (features - statistics["center"]) / statistics["scale"]
    inside = scaled @ statistics["basis"]
    return inside.norm(dim=-1) / scaled.norm(dim=-1).clamp_min(1e-12)


def _decoder(network: Network) -> AllMLPDecoder:
    decoder = network.segmentation_decoder
    if not isinstance(decoder, AllMLPDecoder):
        raise ValueError(
            "Scores of features need a network with an unfolded segmentation decoder."
        )
    return decoder


def _features(network: Network, x: Tensor) -> Tensor:
    return _decoder(network).fuse_features(network.encoder(x))


def _load(kind: str, paths: Sequence[Path], options: LoadOptions) -> FeatureScore:
    statistics = STATISTICS.read(kind, paths[0])
    method = FeatureScore(load_model(paths[0])[0], statistics, kind)
    method.to(options.device)
    return method


for _kind, _heading in (
    ("mahalanobis", "single network, ranked by Mahalanobis distance"),
    ("neco", "single network, ranked by NECO"),
    ("neco_energy", "single network, ranked by NECO × energy"),
):
    METHODS.add(_kind, MethodKind(_heading, partial(_load, _kind), beside=STATISTICS.path))
