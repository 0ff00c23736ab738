"""One training run: from last.ckpt or from the start, to weights in runs/NAME."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from emu_core.labels import ClassTable
from emu_core.networks.weights import save_model
from emu_core.training.averaging import AveragedWeights
from emu_core.training.checkpoints import LastCheckpoint, read_checkpoint
from emu_core.training.learner import Learner, monitored
from emu_core.training.pictures import Pictures, ProgressBar


@dataclass(frozen=True)
class Run:
    """How long to train, and where to.

    Args:
        name: folder below runs/.
        steps: optimiser steps.
        seed: of weights, order and augmentation.
        precision: bf16-mixed, 16-mixed (GPUs without bfloat16) or 32-true.
        ema: decay of the averaged weights, 0 for none.
        validate_every: steps between validations.
        checkpoint_every: steps between checkpoints.
        shares_every: steps between two looks at each loss term's share of the gradient; 0: none.
        threads: CPU threads of each process, 0 for all.
        devices: how many on each node, "auto" for all GPUs or one CPU process.
        nodes: machines that train together.
    """

    name: str = "teacher"
    steps: int = 40000
    seed: int = 0
    precision: Literal["bf16-mixed", "16-mixed", "32-true"] = "bf16-mixed"
    ema: float = 0.999
    validate_every: int = 1000
    checkpoint_every: int = 250
    shares_every: int = 0
    threads: int = 0
    devices: int | str = "auto"
    nodes: int = 1


def fit(
    learner: Learner,
    loader: DataLoader,
    validation: DataLoader,
    run: Run,
    folder: Path,
    classes: ClassTable,
    batch: int,
) -> None:
    """Train from last.ckpt or from the start, and write the weights.

    Leaves the averaged weights in the learner, and in `folder` last.ckpt, best.ckpt,
    last.safetensors, best.safetensors, metrics.csv (metrics-1.csv and so on of earlier calls) and
    pictures/. Does nothing but load the weights where the run is complete.

    Args:
        learner: what to train.
        loader: a `TrainingLoader` of run.steps batches.
        validation: what it is watched on.
        run: how long, and how.
        folder: of this run.
        classes: for the pictures.
        batch: images per step, for the progress bar.
    """
    last, done = folder / "last.ckpt", 0
    if last.is_file():
        checkpoint = read_checkpoint(last)
        done = checkpoint["global_step"]
        print(f"{last} has {done} of {run.steps} steps")
        if done >= run.steps:  # Lightning would leave the weights that are not averaged
            learner.load_state_dict(checkpoint["state_dict"])
            return
        keep_metrics(folder)
    validate_every = min(run.validate_every, run.steps)
    monitor, mode = monitored(learner.model)
    callbacks = [
        ModelCheckpoint(folder, "best", monitor=monitor, mode=mode, enable_version_counter=False),
        LastCheckpoint(last, run.checkpoint_every, validate_every),
        Pictures(folder / "pictures", classes),
        ProgressBar(batch),
    ]
    if run.ema:
        callbacks.append(AveragedWeights(run.ema))
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=run.devices,
        num_nodes=run.nodes,
        use_distributed_sampler=False,  # ours takes each process's share itself
        precision=run.precision,
        max_steps=run.steps,
        gradient_clip_val=learner.optimisation.clip,
        val_check_interval=validate_every,
        check_val_every_n_epoch=None,
        logger=CSVLogger(folder, name="", version=""),
        callbacks=callbacks,
        default_root_dir=folder,
        log_every_n_steps=20,
    )
    trainer.fit(learner, loader, validation, ckpt_path=last if done else None)
    if trainer.is_global_zero:
        write_weights(learner, run, folder)


def write_weights(learner: Learner, run: Run, folder: Path) -> None:
    """Write last.safetensors and best.safetensors; the last stay in the learner."""
    about = {"steps": run.steps, "seed": run.seed}
    save_model(learner.model, folder / "last.safetensors", about)
    if (folder / "best.ckpt").is_file():
        last = {name: value.clone() for name, value in learner.state_dict().items()}
        learner.load_state_dict(read_checkpoint(folder / "best.ckpt")["state_dict"])
        save_model(learner.model, folder / "best.safetensors", about)
        learner.load_state_dict(last)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Leave config.yaml, which is a --config again."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = json.loads(json.dumps(config, default=str))  # YAML knows neither paths nor tuples
    (folder / "config.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))


def keep_metrics(folder: Path) -> None:
    """Rename metrics.csv, which Lightning deletes when a run goes on."""
    earlier = len(list(folder.glob("metrics-*.csv")))
    if (folder / "metrics.csv").is_file():
        (folder / "metrics.csv").rename(folder / f"metrics-{earlier + 1}.csv")
