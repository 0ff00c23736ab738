"""What a user would run instead, built the usual way from transformers' modules, random weights.

Each takes uint8 (1, H, W, 3) and answers at full resolution: upsampled logits, then arg max. A
time does not depend on the weights.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from emu_core.networks import normalize
from emu_core.networks.encoder import find_variant

CLASSES = 19


def hugging_face(variant: str = "b0", outputs: int = CLASSES) -> nn.Module:
    """Transformers' SegFormer with the sizes of a variant, from a configuration alone.

    ImportError without transformers.
    """
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    sizes = find_variant(variant)
    config = SegformerConfig(  # type: ignore[call-arg]
        hidden_sizes=list(sizes.widths),
        depths=list(sizes.depths),
        decoder_hidden_size=sizes.decoder_width,
        num_labels=outputs,
    )
    return SegformerForSemanticSegmentation(config).eval()


class PlainSegmentation(nn.Module):
    """Transformers' SegFormer: labels (1, H, W) and nothing else."""

    def __init__(self, variant: str = "b0") -> None:
        super().__init__()
        self.network = hugging_face(variant)

    def forward(self, image: Tensor) -> Tensor:
        return _upsampled(self.network, image).argmax(1)


class TwoNetworks(nn.Module):
    """A SegFormer and a DepthFormer of its own encoder: labels, depth and its deviation."""

    def __init__(self, variant: str = "b0") -> None:
        super().__init__()
        self.segmentation, self.depth = hugging_face(variant), hugging_face(variant, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        labels = _upsampled(self.segmentation, image).argmax(1)
        mean, variance = _upsampled(self.depth, image).unbind(1)
        return labels, F.relu(mean), F.softplus(variance).sqrt()


def _upsampled(network: nn.Module, image: Tensor) -> Tensor:
    raw = network(normalize(image.permute(0, 3, 1, 2))).logits  # (1, C, H/4, W/4)
    return F.interpolate(raw, image.shape[1:3], mode="bilinear", align_corners=False)
