"""Compare our joint training step with that of the same network from transformers' modules.

Both have the same losses, optimiser and random images. A step is forward, loss, backward and
AdamW.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from emu_core.bench.measurement import missing, ratio, run_rounds, summarize
from emu_core.bench.models import CLASSES, hugging_face
from emu_core.bench.settings import BenchSettings, size_name
from emu_core.networks import RawOutputs, SegDepthFormer, normalize
from emu_core.training.command import prepare_cpu
from emu_core.training.objectives import MemberLoss, member_loss, total

OURS_FP32, OURS_BF16, THEIRS = "ours fp32", "ours bf16", "transformers' modules fp32"
_SIZE, _BATCH = (256, 512), 2
_RATIOS = {"train_bf16_over_hf_fp32": OURS_BF16, "train_fp32_over_hf_fp32": OURS_FP32}


class JointFromTransformers(nn.Module):
    """Transformers' encoder with two of its decoders, for classes and depth."""

    def __init__(self) -> None:
        super().__init__()
        segmentation: Any = hugging_face()
        depth: Any = hugging_face(outputs=2)
        self.encoder: Any = segmentation.segformer
        self.heads = nn.ModuleList([segmentation.decode_head, depth.decode_head])

    def forward(self, x: Tensor) -> RawOutputs:
        features = self.encoder(x, output_hidden_states=True).hidden_states
        return RawOutputs(*(head(features) for head in self.heads))


def measure_training(settings: BenchSettings) -> dict[str, Any]:
    """Measure images per second, and the ratios of ours to theirs."""
    prepare_cpu(settings.threads)
    size, batch = ((64, 128), 2) if settings.quick else (_SIZE, _BATCH)
    steps = {
        OURS_FP32: _step(SegDepthFormer("b0", CLASSES), size, batch, torch.float32),
        OURS_BF16: _step(SegDepthFormer("b0", CLASSES), size, batch, torch.bfloat16),
    }
    reason = ""
    try:
        steps[THEIRS] = _step(JointFromTransformers(), size, batch, torch.float32)
    except Exception as error:  # transformers may be missing, or have another version
        reason = f"{THEIRS}: {type(error).__name__}: {error}"
    series = run_rounds(steps, settings.repetitions, warm_up=2, clock=settings.time)
    rates = {
        name: summarize([1000 * batch / ms for ms in values]) for name, values in series.items()
    }
    return {
        "ratios": {
            # A ratio of images per second is the inverse ratio of times.
            key: missing(reason) if reason else ratio(series[THEIRS], series[name])
            for key, name in _RATIOS.items()
        },
        "details": {"training_images_per_s": {size_name(size): rates}},
    }


def _step(
    network: nn.Module, size: tuple[int, int], batch: int, dtype: torch.dtype
) -> Callable[[], None]:
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, CLASSES, (batch, *size), generator=generator).to(torch.uint8)
    depth = 1 + 50 * torch.rand(batch, 1, *size, generator=generator)

    def run() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            raw = network(normalize(images))
            terms = member_loss(raw, labels, depth, MemberLoss())
        optimizer.zero_grad()
        total(terms).backward()
        optimizer.step()

    return run
