"""Compare our joint training step with that of the same network from transformers' modules.

Both have the same losses and random images. A step is forward, loss, backward and AdamW; ours is
fused, as in our trainings, theirs is the default of PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from emu_core.bench.measurement import Contest, missing, ratio, run_rounds, summarize
from emu_core.bench.models import CLASSES, hugging_face
from emu_core.bench.settings import BenchSettings, size_name
from emu_core.networks import RawOutputs, SegDepthFormer, normalize
from emu_core.training.command import prepare_cpu
from emu_core.training.objectives import MemberLoss, member_loss, total

OURS_FP32, OURS_BF16, THEIRS = "ours fp32", "ours bf16", "transformers' modules fp32"
_BATCH = 2
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
    size = (64, 128) if settings.quick else (256, 512)
    contest = Contest()
    for name, dtype in ((OURS_FP32, torch.float32), (OURS_BF16, torch.bfloat16)):
        ours = SegDepthFormer("b0", CLASSES)
        contest.functions[name] = training_step(ours, size, dtype, fused=True)
    # Transformers may be missing, or have another version.
    contest.add(THEIRS, lambda: training_step(JointFromTransformers(), size, torch.float32))
    series = run_rounds(contest.functions, settings.repetitions, warm_up=2, clock=settings.time)
    rates = {n: summarize([1000 * _BATCH / ms for ms in times]) for n, times in series.items()}
    return {
        "ratios": {
            # A ratio of images per second is the inverse ratio of times.
            key: ratio(series[THEIRS], series[name])
            if THEIRS in series
            else missing(f"{THEIRS}: {contest.missing[THEIRS]}")
            for key, name in _RATIOS.items()
        },
        "details": {"training_images_per_s": {size_name(size): rates}},
    }


def training_step(
    network: nn.Module,
    size: tuple[int, int],
    dtype: torch.dtype,
    device: str = "cpu",
    batch: int = _BATCH,
    fused: bool = False,
) -> Callable[[], None]:
    """Return a function that does one step with random images.

    Args:
        network: A joint network.
        size: (height, width) of the crops.
        dtype: float32, or bfloat16 under autocast.
        device: cpu or cuda.
        batch: Number of crops.
        fused: Update all weights in one operation.
    """
    network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6, fused=fused)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, CLASSES, (batch, *size), generator=generator).to(torch.uint8)
    depth = 1 + 50 * torch.rand(batch, 1, *size, generator=generator)
    images, labels, depth = (x.to(device) for x in (images, labels, depth))

    def run() -> None:
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            raw = network(normalize(images))
            terms = member_loss(raw, labels, depth, MemberLoss())
        optimizer.zero_grad()
        total(terms).backward()
        optimizer.step()

    return run
