"""What a study costs: seconds per image of each kind of work, measured here or given.

| kind         | an image costs                                                       |
|--------------|----------------------------------------------------------------------|
| joint        | forward and backward of a SegDepthFormer                             |
| segmentation | of a SegFormer                                                       |
| depth        | of a DepthFormer                                                     |
| heads        | of a SegDepthFormer with a frozen encoder; half if for one task      |
| forward      | a forward alone, fp32: of each of a teacher's members, and in scoring |
| metrics      | the figures of both tasks, in scoring                                |
| load         | reading and augmenting, on one core                                  |
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from emu_core.data.datasets import DataSet
from emu_core.methods.prediction import to_prediction
from emu_core.metrics import StudyMetrics
from emu_core.networks import DepthFormer, Network, SegDepthFormer, SegFormer
from emu_core.networks.models import normalize
from emu_core.study.plan import Scoring, Training
from emu_core.study.rows import ROWS
from emu_core.training.config import Architecture, Data
from emu_core.training.loader import Batch, as_tensors
from emu_core.training.objectives import MemberLoss, member_loss, total

KINDS = ("joint", "segmentation", "depth", "heads", "forward", "metrics", "load")

Costs = Mapping[str, float]
"""Seconds per image of each of `KINDS`."""

_STEPS = 3  # timed ones of each kind, behind one that warms up
_SHARED = 0.5  # of a forward, what MC Dropout and sub-ensembles do for all samples together


def training_seconds(training: Training, costs: Costs) -> float:
    """What a whole training takes."""
    task = training.architecture.task
    if training.kind == "heads":
        each = costs["heads"] * (1.0 if task == "joint" else 0.5)
    else:
        each = costs[task]
    beside = training.data.workers and (os.cpu_count() or 1)  # loading shares all cores
    answers = training.answers * len(training.teacher) * costs["forward"]
    return training.images * (each + costs["load"] / (beside or 1)) + answers


def scoring_seconds(scoring: Scoring, images: Mapping[str, float], costs: Costs) -> float:
    """What scoring a row's seed takes.

    Args:
        images: of each split, counted in images of the training's size: one of twice its pixels
            is two.
    """
    passes = {
        "mcd": _SHARED * (scoring.samples + 1),
        "dse": _SHARED * (sum(t.heads for t in scoring.networks) + 1),
        "de": float(len(scoring.networks)),
    }.get(ROWS[scoring.row].kind, 1.0)
    if scoring.depth_networks:
        passes *= 1.5
    each = costs["load"] + costs["metrics"] + passes * costs["forward"]
    return each * sum(images[split] for split in scoring.splits)


@lru_cache
def relative(variant: str, base: str) -> float:
    """What a backbone costs over another, by the operations of a forward."""
    counts = []
    for name in (variant, base):
        network = SegDepthFormer(name, 19).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 3, 64, 64))
        counts.append(counter.get_total_flops())
    return counts[0] / counts[1]


def measure(
    samples: DataSet, data: Data, architecture: Architecture, device: str = "cpu"
) -> dict[str, float]:
    """Time a few steps of every kind of work on real images, in some 20 seconds.

    Args:
        samples: as many as a batch, or more.
        data: size and batch.
        architecture: of the networks.
        device: where they run.
    """
    ready = [
        as_tensors(samples[i], data.augmentation, np.random.default_rng(i))
        for i in range(min(data.batch, len(samples)))
    ]
    batch = {name: torch.stack([one[name] for one in ready]).to(device) for name in ready[0]}
    classes, variant = len(samples.classes), architecture.variant
    joint = SegDepthFormer(variant, classes).to(device)
    found = {
        "joint": _step(joint, batch),
        "segmentation": _step(SegFormer(variant, classes).to(device), batch),
        "depth": _step(DepthFormer(variant).to(device), batch),
    }
    joint.freeze_encoder()
    found["heads"] = _step(joint, batch)
    found["forward"] = _timed(lambda: _forward(joint.eval(), batch), len(ready))
    found["metrics"] = _timed(lambda: _count(joint, batch, samples), len(ready)) - found["forward"]
    rng = np.random.default_rng(0)
    found["load"] = _timed(
        lambda: [as_tensors(samples[i], data.augmentation, rng) for i in range(len(ready))],
        len(ready),
    )
    return found


def _step(network: Network, batch: Batch) -> float:
    """Seconds per image of a training step."""
    network.train()
    used = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(used, lr=1e-6)

    def run() -> None:
        with torch.autocast(batch["image"].device.type, torch.bfloat16):
            raw = network(normalize(batch["image"]))
            terms = member_loss(raw, batch["labels"], batch["depth"], MemberLoss())
        optimizer.zero_grad()
        total(terms).backward()
        optimizer.step()

    return _timed(run, len(batch["image"]))


@torch.no_grad()
def _forward(network: Network, batch: Batch):
    height, width = batch["image"].shape[-2:]
    return to_prediction(network(normalize(batch["image"])), (height, width))


def _count(network: Network, batch: Batch, samples: DataSet) -> None:
    prediction = _forward(network, batch)
    study = StudyMetrics(len(samples.classes), samples.max_depth)
    assert prediction.probabilities is not None
    assert prediction.depth_mean is not None and prediction.depth_variance is not None
    for n in range(len(batch["image"])):
        p, mean, variance, labels, depth = (
            x[n].cpu().numpy()
            for x in (prediction.probabilities, prediction.depth_mean[:, 0],
                      prediction.depth_variance[:, 0], batch["labels"], batch["depth"][:, 0])
        )  # fmt: skip
        study.update_classes(p, labels)
        study.update_depth(mean, variance, depth)


def _timed(run: Callable[[], object], images: int) -> float:
    """Seconds per image, the median of a few runs."""
    run()
    taken = []
    for _ in range(_STEPS):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) / images
