"""One step on several CPU processes: `python distributed_step.py FOLDER PROCESSES`.

Lightning starts the other processes. Writes each learner's gradients to FOLDER/NAME.pt, and to
FOLDER/RANK.txt the error of each process when the loss of one process is not finite.
`test_distributed` starts it, and does the same steps in one process.
"""

import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only

from emu_core.data.augment import Augmentation
from emu_core.data.label_space import LabelSpace
from emu_core.data.mixture import Mixture
from emu_core.data.sample import Sample, partial_sample
from emu_core.labels import CITYSCAPES
from emu_core.methods.single import SingleNetwork
from emu_core.networks import SegDepthFormer
from emu_core.training.config import Data, Run, StudentConfig
from emu_core.training.learner import Member, Student
from emu_core.training.loader import training_loader
from emu_core.training.objectives import StudentLoss
from emu_core.training.run import fit

AUGMENTATION = Augmentation(32, 64, canonical_focal=100.0)
LEARNERS = ("member", "student")


SPACES = (
    LabelSpace.identity(CITYSCAPES),
    LabelSpace.of(
        ("ground", "vegetation", "sky", "movable"),
        CITYSCAPES,
        {"ground": ["road", "sidewalk", "terrain"], "movable": ["person", "car", "bicycle"]},
    ),
    LabelSpace.of(("road", "other"), CITYSCAPES, {"other": ["sidewalk", "car", "sky"]}),
    LabelSpace((), CITYSCAPES, ()),
)


class Frames(list):
    """Samples of one data set in memory."""

    title, max_depth = "frames", 80.0

    def __init__(self, space, *samples):
        super().__init__(samples)
        self.space = space


def mixture():
    """Four data sets of one frame each, in other classes, of very unequal ground truth.

    It is dense, sparse, without depth, and missing.
    """
    shares, images = ((1.0, 0.9), (0.05, 0.02), (0.5, 0.0)), []
    parts = []
    for index, (space, (labelled, measured)) in enumerate(zip(SPACES[:3], shares, strict=True)):
        rng = np.random.default_rng(index)
        images.append(rng.integers(0, 256, (32, 64, 3), np.uint8))
        labels = rng.integers(0, len(space.names), (32, 64)).astype(np.uint8)
        labels[rng.random((32, 64)) >= labelled] = 255
        depth = rng.uniform(2, 60, (32, 64)).astype(np.float32)
        depth[rng.random((32, 64)) >= measured] = np.nan
        parts.append(Frames(space, Sample(str(index), images[-1], labels, depth, (100.0, 100.0))))
    unlabelled = partial_sample("unlabelled", images[0][::-1].copy(), (100.0, 100.0))
    return joined([*parts, Frames(SPACES[3], unlabelled)])


def joined(parts):
    """A mixture of data sets whose batch has one frame of each."""
    return Mixture(parts, [1.0] * len(parts))


def network(seed):
    torch.manual_seed(seed)
    model = SegDepthFormer("b0", dropout=0.0, drop_path=0.0)
    model.init_depth(20.0, 8.0)
    return model


class WithGradients:
    """Keeps the gradients of a step; BatchNorm does not use its batch."""

    def on_train_batch_start(self, batch, batch_idx):
        super().on_train_batch_start(batch, batch_idx)
        for module in self.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()

    def on_before_optimizer_step(self, optimizer):
        self.gradients = {name: p.grad.clone() for name, p in self.model.named_parameters()}


class MemberWithGradients(WithGradients, Member):
    pass


class StudentWithGradients(WithGradients, Student):
    pass


class HalfBroken(Member):
    """The loss of one of two processes is not finite."""

    def terms(self, raw, batch):
        terms = super().terms(raw, batch)
        return {**terms, "ce": terms["ce"] * (torch.nan if self.global_rank else 1)}


def gradients(name, folder, processes, frames):
    """The gradients of one step on all frames of a mixture as one batch."""
    data = Data(augmentation=AUGMENTATION, batch=len(frames))
    run = Run(steps=1, precision="32-true", ema=0, threads=1, devices=processes)
    loss = StudentLoss(mean_weight=0.5, kl_pixels="labelled")
    config = StudentConfig(data, loss=loss, run=run)
    if name == "student":
        trained = StudentWithGradients(network(0), config, frames, SingleNetwork(network(1)))
    else:
        kind = {"member": MemberWithGradients, "broken": HalfBroken}[name]
        trained = kind(network(0), config.supervised, frames)
    trained.class_weights = torch.linspace(0.2, 3.0, 19)
    with patch.object(Data, "open_validation", lambda _: frames.parts[:2]):
        fit(trained, training_loader(frames, AUGMENTATION, len(frames), 1, seed=0), folder / name)
    return getattr(trained, "gradients", None)


if __name__ == "__main__":
    folder, processes = Path(sys.argv[1]), int(sys.argv[2])
    for name in LEARNERS:
        found = gradients(name, folder, processes, mixture())
        rank_zero_only(torch.save)(found, folder / f"{name}.pt")
    try:
        gradients("broken", folder, processes, mixture())
    except FloatingPointError as error:
        (folder / f"{rank_zero_only.rank}.txt").write_text(str(error))
