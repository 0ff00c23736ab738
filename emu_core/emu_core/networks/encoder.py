"""Mix Transformer (MiT-B0…B5), the encoder of SegFormer (Xie et al., NeurIPS 2021).

Feature maps have the shape (N, H, W, C): linear layers and norms act on the last axis. The same
memory seen as (N, C, H, W) is torch's `channels_last`, the fast layout of convolutions on CPU and
GPU. So no map is transposed in memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emu_core.networks.dropout import Dropout


@dataclass(frozen=True)
class Variant:
    """Sizes that differ between MiT-B0…B5 (SegFormer, table 6), and a B0 of half its widths."""

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    decoder_width: int


VARIANTS = {
    "b0": Variant((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "b1": Variant((64, 128, 320, 512), (2, 2, 2, 2), 256),
    "b2": Variant((64, 128, 320, 512), (3, 4, 6, 3), 768),
    "b3": Variant((64, 128, 320, 512), (3, 4, 18, 3), 768),
    "b4": Variant((64, 128, 320, 512), (3, 8, 27, 3), 768),
    "b5": Variant((64, 128, 320, 512), (3, 6, 40, 3), 768),
    "b0_half": Variant((16, 32, 80, 128), (2, 2, 2, 2), 128),  # for Packed-Ensembles of a B0
}

# Common to all variants, one value per stage.
PATCHES = (7, 3, 3, 3)
STRIDES = (4, 2, 2, 2)
HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
MLP_RATIO = 4

MIN_IMAGE_SIZE = 32
"""Smallest image side in pixels: below it the last stage has no keys and values."""


def find_variant(name: str) -> Variant:
    """Return a variant by its name in `VARIANTS`; ValueError if there is none."""
    if name not in VARIANTS:
        raise ValueError(
            f"Expected `variant` to be one of {', '.join(VARIANTS)}, but got {name!r}."
        )
    return VARIANTS[name]


def recognize_variant(names: Iterable[str], pattern: str, width: int) -> str | None:
    """Find the variant of a checkpoint from the names of its tensors.

    Args:
        names: Names of tensors.
        pattern: Regular expression for them, with the groups stage and block.
        width: Channels of the first stage.
    """
    blocks = {match.groups() for name in names if (match := re.search(pattern, name))}
    depths = tuple(sum(stage == str(i) for stage, _ in blocks) for i in range(4))
    return next(
        (n for n, v in VARIANTS.items() if (v.widths[0], v.depths) == (width, depths)), None
    )


class MixTransformer(nn.Module):
    """Hierarchical encoder: four stages of efficient self-attention and Mix-FFN.

    Args:
        variant: "b0"…"b5".
        drop_path: Stochastic depth of the last block; it rises linearly from 0 at the first.
        layer_norm_eps: Epsilon of every LayerNorm. The original blocks and stages have 1e-6;
            `load_hugging_face` sets 1e-5.
        dropout: Probability after the last layer of attention and after both layers of Mix-FFN.
            0 in SegFormer; an option for MC Dropout.
    """

    def __init__(
        self,
        variant: str = "b0",
        drop_path: float = 0.1,
        layer_norm_eps: float = 1e-6,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = find_variant(variant)
        last = sum(sizes.depths) - 1
        rates = iter([drop_path * i / last for i in range(last + 1)])
        self.sizes = sizes
        self.stages = nn.ModuleList(
            Stage(i, sizes, list(islice(rates, sizes.depths[i])), dropout) for i in range(4)
        )
        self.set_layer_norm_eps(layer_norm_eps)
        self.apply(_init_weights)

    def set_layer_norm_eps(self, eps: float) -> None:
        """Set the epsilon of every LayerNorm; it is stored in checkpoints, like the weights."""
        self.layer_norm_eps = eps
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = eps

    def forward(self, image: Tensor) -> list[Tensor]:
        """Encode ImageNet-normalised RGB, float (N, 3, H, W), H and W at least 32.

        Returns:
            Four feature maps (N, C_i, H/4…H/32, W/4…W/32), finest first, sides rounded up,
            channels last in memory.

        Raises:
            ValueError: The shape of the image is wrong.
        """
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[2:]) < MIN_IMAGE_SIZE:
            raise ValueError(
                f"Expected `image` to be (N, 3, H, W) with H and W at least {MIN_IMAGE_SIZE}, "
                f"but got {tuple(image.shape)}."
            )
        features = []
        x = image.contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class Stage(nn.Module):
    """Stage `index` (0…3): overlapping patch embedding, transformer blocks, LayerNorm."""

    def __init__(
        self, index: int, sizes: Variant, drop_paths: Sequence[float], dropout: float
    ) -> None:
        super().__init__()
        in_width, width = (3, *sizes.widths)[index : index + 2]
        patch = PATCHES[index]
        self.embed = nn.Conv2d(in_width, width, patch, STRIDES[index], padding=patch // 2)
        self.embed_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            Block(width, HEADS[index], REDUCTIONS[index], drop_path, dropout)
            for drop_path in drop_paths
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed_norm(_channels_last(self.embed(x)))  # (N, H, W, C)
        for block in self.blocks:
            x = block(x)
        return _channels_first(self.norm(x))  # (N, C, H, W)


class Block(nn.Module):
    """Pre-norm transformer block with stochastic depth on both branches."""

    def __init__(
        self, width: int, heads: int, reduction: int, drop_path: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = EfficientAttention(width, heads, reduction, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.ffn = MixFFN(width, dropout)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        x = self._add(x, self.attention(self.norm1(x)))
        return self._add(x, self.ffn(self.norm2(x)))

    def _add(self, x: Tensor, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0.0:
            return x + branch
        keep = 1.0 - self.drop_path
        scale = branch.new_empty((len(branch), 1, 1, 1)).bernoulli_(keep).div_(keep)
        return torch.addcmul(x, branch, scale)


class EfficientAttention(nn.Module):
    """Self-attention with keys and values from a map that is `reduction` times smaller."""

    def __init__(self, width: int, heads: int, reduction: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.dropout = Dropout(dropout)
        self.reduce: nn.Conv2d | None = None
        self.reduce_norm: nn.LayerNorm | None = None
        if reduction > 1:
            self.reduce = nn.Conv2d(width, width, reduction, stride=reduction)
            self.reduce_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        context = x
        if self.reduce is not None and self.reduce_norm is not None:
            context = self.reduce_norm(_channels_last(self.reduce(_channels_first(x))))
        attended = _attend(
            self._split(self.query(x)),  # (N, heads, H·W, C/heads)
            self._split(self.key(context)),  # (N, heads, H·W/reduction², C/heads)
            self._split(self.value(context)),
        )
        return self.dropout(self.output(attended.transpose(1, 2).reshape(n, h, w, c)))

    def _split(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        return x.reshape(n, h * w, self.heads, c // self.heads).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        # On a CPU the backward pass of the fused kernel is slower in bfloat16 than in float32.
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(query.float(), key.float(), value.float())
    return F.scaled_dot_product_attention(query, key, value)


class MixFFN(nn.Module):
    """Linear, 3×3 depth-wise convolution (instead of a positional encoding), GELU, Linear."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = MLP_RATIO * width
        self.linear1: nn.Linear | nn.Conv2d = nn.Linear(width, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.linear1, nn.Conv2d):
            x = self.linear1(_channels_first(x))
        else:
            x = _channels_first(self.linear1(x))
        x = _channels_last(self.depthwise(x))  # (N, H, W, 4C)
        return self.dropout(self.linear2(self.dropout(F.gelu(x))))

    def convolve_first(self) -> None:
        """Write the first layer as an equal 1×1 convolution.

        ONNX Runtime then converts C channels to its own layout of convolutions instead of 4C.
        """
        if isinstance(self.linear1, nn.Linear):
            self.linear1 = pointwise_convolution(self.linear1.weight, self.linear1.bias)


def pointwise_convolution(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """Build a 1×1 convolution from copies of a weight (D, C) and a bias (D,)."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None).to(weight)
    with torch.no_grad():
        conv.weight.copy_(weight[:, :, None, None])
        if conv.bias is not None and bias is not None:
            conv.bias.copy_(bias)
    return conv


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)  # (N, H, W, C) → (N, C, H, W)


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)  # (N, C, H, W) → (N, H, W, C)


def _init_weights(module: nn.Module) -> None:
    """Initialise as in the original code of SegFormer."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
