"""Train one member of the teacher, which is also a plain single network.

    python training/train_teacher.py --config training/configs/b0_drives.yaml
    python training/train_teacher.py --config training/configs/b0_drives.yaml --run.steps 200
    python training/train_teacher.py --help

Leaves in runs/NAME: last.ckpt (training goes on from it when the command is given again),
last.safetensors and best.safetensors (weights alone; best by validation's mIoU), metrics.csv
(metrics-1.csv and so on are those of earlier calls) and config.yaml, which is a --config again.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import jsonargparse
import lightning
import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from emu_core.data.augment import Augmentation
from emu_core.data.cityscapes import MAX_DEPTH, Cityscapes, DataError
from emu_core.labels import CITYSCAPES
from emu_core.networks import SegDepthFormer
from emu_core.networks.weights import save_model
from emu_core.training.averaging import AveragedWeights
from emu_core.training.cpu import prepare_cpu
from emu_core.training.loader import training_loader, validation_loader
from emu_core.training.member import Member, Optimisation

_LOOKED_AT = 400
"""Frames whose labels are counted."""


@dataclass(frozen=True)
class Data:
    """Where the data lies and how it becomes network input.

    Args:
        root: folder in Cityscapes' layout.
        max_depth: farther ground truth is invalid, metres.
        augmentation: size, canonical focal length and random augmentation.
        batch: images per step.
        workers: processes that load images.
    """

    root: Path = Path("data/drives")
    max_depth: float = MAX_DEPTH
    augmentation: Augmentation = field(default_factory=Augmentation)
    batch: int = 8
    workers: int = 1


@dataclass(frozen=True)
class Run:
    """How long to train, and where to.

    Args:
        name: folder below runs/.
        steps: optimiser steps.
        seed: of weights, order and augmentation.
        precision: Lightning's precision flag, e.g. bf16-mixed or 32-true.
        ema: decay of the averaged weights, 0 for none.
        validate_every: steps between validations.
        checkpoint_every: steps between checkpoints.
        threads: CPU threads, 0 for all.
    """

    name: str = "member"
    steps: int = 40000
    seed: int = 0
    precision: str = "bf16-mixed"
    ema: float = 0.999
    validate_every: int = 1000
    checkpoint_every: int = 250
    threads: int = 0


def train(
    data: Data = Data(),
    optimisation: Optimisation = Optimisation(),  # noqa: B008
    run: Run = Run(),
    variant: str = "b0",
    beta: float = 0.0,
    class_balance: float = 0.0,
    depth_mean: float = 15.0,
    depth_std: float = 8.0,
) -> None:
    """Train one SegDepthFormer with cross-entropy + Gaussian NLL.

    Args:
        data: data set and augmentation.
        optimisation: AdamW and its schedule.
        run: length, seed, precision, output.
        variant: b0…b5.
        beta: β of β-NLL, 0 for the plain Gaussian NLL.
        class_balance: p ≥ 0; a pixel of a class with share f of all counts as f^-p does, 1 in the
            mean. Rare classes are learned sooner, and named too often where in doubt.
        depth_mean: mean depth of the training data, m: the depth head's first answer.
        depth_std: the depth head's first standard deviation, m.
    """
    prepare_cpu(run.threads)
    lightning.seed_everything(run.seed, workers=True)
    samples = Cityscapes(data.root, "train", data.max_depth)
    print(f"{len(samples)} training images from {data.root}, depth valid up to {data.max_depth} m")
    loader = training_loader(samples, data.augmentation, data.batch, run.seed, data.workers)
    held_out = Cityscapes(data.root, "val", data.max_depth)
    validation = validation_loader(held_out, data.augmentation, data.batch)
    model = SegDepthFormer(variant)
    model.init_depth(depth_mean, depth_std)
    weights = class_weights(samples, class_balance) if class_balance else None
    member = Member(model, optimisation, 1.0, beta, data.max_depth, weights)
    folder = Path("runs") / run.name
    folder.mkdir(parents=True, exist_ok=True)
    config = {"data": asdict(data), "optimisation": asdict(optimisation), "run": asdict(run),
              "variant": variant, "beta": beta, "class_balance": class_balance,
              "depth_mean": depth_mean, "depth_std": depth_std}  # fmt: skip
    plain = json.loads(json.dumps(config, default=str))  # YAML knows neither paths nor tuples
    (folder / "config.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    fit(member, loader, validation, run, folder)
    about = {"config": json.dumps({"variant": variant, "steps": run.steps, "seed": run.seed})}
    save_model(member.model, folder / "last.safetensors", about)
    if (folder / "best.ckpt").is_file():
        member.load_state_dict(read_checkpoint(folder / "best.ckpt")["state_dict"])
        save_model(member.model, folder / "best.safetensors", about)


def class_weights(samples: Cityscapes, power: float) -> torch.Tensor:
    """Weights (C,) of the classes, f^-power, whose mean over all pixels is 1.

    Args:
        samples: whose labels give the shares f; `_LOOKED_AT` of them, evenly spread.
        power: 0 for equal weights.
    """
    stride = max(len(samples) // _LOOKED_AT, 1)
    counts = sum(
        np.bincount(samples[i].labels.ravel(), minlength=256)[: len(CITYSCAPES)]
        for i in range(0, len(samples), stride)
    )
    share = counts / np.sum(counts)
    weights = (np.maximum(counts, 1) / np.sum(counts)) ** -power  # finite for absent classes
    return torch.tensor(weights / (share * weights).sum(), dtype=torch.float32)


def fit(
    member: Member, loader: DataLoader, validation: DataLoader, run: Run, folder: Path
) -> None:
    """Train from last.ckpt or from the start; leaves the averaged weights in the member."""
    last, done = folder / "last.ckpt", 0
    if last.is_file():
        checkpoint = read_checkpoint(last)
        done = checkpoint["global_step"]
        print(f"{last} has {done} of {run.steps} steps")
        if done >= run.steps:  # Lightning would leave the weights that are not averaged
            member.load_state_dict(checkpoint["state_dict"])
            return
        keep_metrics(folder)
    checkpoints = [
        ModelCheckpoint(folder, "last", save_top_k=1,
                        every_n_train_steps=min(run.checkpoint_every, run.steps),
                        enable_version_counter=False),
        ModelCheckpoint(folder, "best", monitor="val_miou", mode="max",
                        enable_version_counter=False),
    ]  # fmt: skip
    averaging = [AveragedWeights(run.ema)] if run.ema else []
    trainer = lightning.Trainer(
        accelerator="auto",
        precision=run.precision,
        max_steps=run.steps,
        gradient_clip_val=member.optimisation.clip,
        val_check_interval=min(run.validate_every, run.steps),
        check_val_every_n_epoch=None,
        logger=CSVLogger(folder, name="", version=""),
        callbacks=[*checkpoints, *averaging, TQDMProgressBar(refresh_rate=10)],
        default_root_dir=folder,
        log_every_n_steps=20,
    )
    trainer.fit(member, loader, validation, ckpt_path=last if done else None)


def keep_metrics(folder: Path) -> None:
    """Rename metrics.csv, which Lightning deletes when a run goes on."""
    earlier = len(list(folder.glob("metrics-*.csv")))
    if (folder / "metrics.csv").is_file():
        (folder / "metrics.csv").rename(folder / f"metrics-{earlier + 1}.csv")


def read_checkpoint(path: Path) -> dict:
    """What Lightning saved: `global_step`, `state_dict` (averaged weights) and more."""
    return torch.load(path, map_location="cpu", weights_only=True)


def main() -> int:
    """Command line."""
    try:
        jsonargparse.auto_cli(train, as_positional=False, description=__doc__)
    except (DataError, FloatingPointError) as error:
        # From a loading process comes a traceback that ends in the message.
        message = str(error).rpartition("DataError: ")[2].strip()
        print(f"train_teacher: {message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
