"""A Deep Ensemble and MC Dropout as one graph each, for the engine that the student runs on.

They have the same optimisations as the student: folded decoders, and operations at full resolution
that ONNX Runtime computes at memory speed. Members share common work. Uncertainties are those of
`emu_core.methods.base`: entropy of the mean softmax, variance of the depth mixture.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emu_core.networks import IMAGENET_MEAN, IMAGENET_STD, SegDepthFormer
from emu_core.networks.decoder import FoldedDecoder
from emu_core.networks.models import VARIANCE_UNIT


class SampledGraph(nn.Module):
    """uint8 (1, H, W, 3) → labels, entropy / ln C, depth mean and standard deviation (H, W)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        self.scale, self.shift = nn.Buffer(1 / (255 * std)), nn.Buffer(-mean / std)
        self.ones = nn.Buffer(torch.ones(1, num_classes))

    def raw_outputs(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Compute the raw logits and depth of each sample at H/4."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        size = (image.shape[1], image.shape[2])
        x = image.permute(0, 3, 1, 2).float() * self.scale + self.shift
        probabilities, means, squares, variances = [], [], [], []
        for raw in self.raw_outputs(x):
            logits, depth = (
                F.interpolate(r, size=size, mode="bilinear", align_corners=False) for r in raw
            )
            probabilities.append(self._softmax(logits.reshape(logits.shape[1], -1)))
            mean = depth[0, 0].relu()
            means.append(mean)
            squares.append(mean * mean)
            variances.append(F.softplus(depth[0, 1]))
        labels, entropy = self._classify(_mean(probabilities))
        mean = _mean(means)
        spread = (_mean(squares) - mean * mean).relu()
        std = (_mean(variances) * VARIANCE_UNIT + spread).sqrt()
        return labels.view(size), entropy.view(size), mean, std

    def _softmax(self, logits: Tensor) -> Tensor:
        exp = (logits - functools.reduce(torch.maximum, logits.split(1))).exp()  # (C, H·W)
        return exp / (self.ones @ exp)

    def _classify(self, p: Tensor) -> tuple[Tensor, Tensor]:
        entropy = -(self.ones @ (p * (p + 1e-12).log())) / math.log(len(p))
        best, labels = p[:1], torch.zeros_like(p[:1])
        for number, plane in enumerate(p[1:].split(1), 1):  # faster than argmax, see `export`
            labels = torch.where(plane > best, torch.full_like(labels, number), labels)
            best = torch.maximum(plane, best)
        return labels.to(torch.uint8), entropy


class EnsembleGraph(SampledGraph):
    """A Deep Ensemble; members share only the normalised image."""

    def __init__(self, members: Sequence[SegDepthFormer]) -> None:
        super().__init__(members[0].num_classes)
        self.members = nn.ModuleList(member.fold_for_inference() for member in members)

    def raw_outputs(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        yield from (member(x) for member in self.members)


class DropoutGraph(SampledGraph):
    """MC Dropout in the decoders: encoder and fusion run once, with masks drawn beforehand.

    Drawing masks for every image would take additional time.
    """

    def __init__(self, network: SegDepthFormer, samples: int, size: tuple[int, int]) -> None:
        super().__init__(network.num_classes)
        self.network, self.samples = network.fold_for_inference(), samples
        self.keep = 1 - network.dropout
        width = network.encoder.sizes.decoder_width
        shape = (samples, 1, width, -(-size[0] // 4), -(-size[1] // 4))
        generator = torch.Generator().manual_seed(0)
        kept = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        self.kept = nn.Buffer(kept < round(256 * self.keep))

    def raw_outputs(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        features = self.network.encoder(x)
        decoders = (self.network.segmentation_decoder, self.network.depth_decoder)
        fused = [(d, d.fuse(features)) for d in decoders if isinstance(d, FoldedDecoder)]
        zero = torch.zeros(())
        for kept in self.kept.unbind(0):
            logits, depth = (
                F.conv2d(torch.where(kept, maps, zero), d.head.weight / self.keep, d.head.bias)
                for d, maps in fused
            )
            yield logits, depth


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return functools.reduce(torch.add, parts) / len(parts)
