"""One training run: from last.ckpt or from the start, to weights in its folder."""

from __future__ import annotations

import csv
import io
import itertools
import math
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only

from emu_core.data.sample import Samples
from emu_core.files import replace_text
from emu_core.labels import ClassTable
from emu_core.networks.weights import read_header, save_model
from emu_core.training.callbacks import (
    AveragedWeights,
    BestCheckpoint,
    LastCheckpoint,
    Pictures,
    ProgressBar,
    WholeCheckpoints,
    read_checkpoint,
)
from emu_core.training.command import prepare_cpu
from emu_core.training.config import Run, TrainingConfig, deciding_settings, flat, plain
from emu_core.training.learner import Learner, monitored
from emu_core.training.loader import TrainingLoader, training_loader, validation_loader

WEIGHTS = "last.safetensors"
"""The weights that a complete run leaves in its folder."""

_LOG_EVERY = 20  # steps


def start(run: Run) -> None:
    """Prepare this process for a run: threads and seeds."""
    prepare_cpu(run.threads)
    lightning.seed_everything(run.seed, workers=True, verbose=False)


def training_batches(config: TrainingConfig, samples: Samples) -> TrainingLoader:
    """Return the batches of a complete run."""
    data, run = config.data, config.run
    return training_loader(
        samples, data.augmentation, data.batch, run.steps, run.seed, data.workers, data.variants
    )


def complete(folder: Path, config: TrainingConfig) -> bool:
    """Whether a folder holds the weights of this run with all its steps.

    Raises:
        ValueError: what the folder holds was trained with other settings.
    """
    _expect_same_settings(folder, config)
    path = folder / WEIGHTS
    return path.is_file() and read_header(path)[1].get("steps", 0) >= config.run.steps


def fit(
    learner: Learner,
    loader: TrainingLoader,
    config: TrainingConfig,
    folder: Path,
) -> Path:
    """Train from last.ckpt or from the start, and write the weights.

    Leaves the averaged weights in the learner, and in `folder` config.yaml, last.ckpt, best.ckpt,
    last.safetensors, best.safetensors, metrics.csv (metrics-1.csv and so on of earlier calls) and
    pictures/.

    Args:
        learner: what to train.
        loader: `training_batches`.
        config: data with the student's augmentation, schedule; written to config.yaml.
        folder: of this run.

    Returns:
        Path of last.safetensors.

    Raises:
        DataError: there is no data to validate on.
        FloatingPointError: the loss or its gradient is not finite.
        ValueError: last.ckpt is damaged.
    """
    data, run = config.data, config.run
    held_out = data.open_validation()
    whole = data.whole_images
    pixels = data.augmentation.height * data.augmentation.width
    batch = max(data.batch * pixels // (whole.height * whole.width), 1)
    validation = validation_loader(held_out, whole, batch)
    write_config(folder, config)
    last, done = folder / "last.ckpt", 0
    if last.is_file():
        checkpoint = read_checkpoint(last)
        done = checkpoint["global_step"]
        print_once(f"{last} has {done} of {run.steps} steps")
        if done >= run.steps:  # Lightning would leave the weights that are not averaged
            learner.load_state_dict(checkpoint["state_dict"])
            write_weights(learner, folder, {"steps": done, "seed": run.seed})
            return folder / WEIGHTS
        keep_metrics(folder, done)
        del checkpoint
    trainer = _trainer(learner, run, folder, held_out.classes, data.batch)
    trainer.fit(learner, loader, validation, ckpt_path=last if done else None)
    write_weights(learner, folder, {"steps": trainer.global_step, "seed": run.seed})
    trainer.strategy.barrier("weights")  # the other processes go on to read them
    return folder / WEIGHTS


def _trainer(
    learner: Learner, run: Run, folder: Path, classes: ClassTable, batch: int
) -> lightning.Trainer:
    validate_every = min(run.validate_every, run.steps)
    monitor, mode = monitored(learner.model)
    callbacks = [
        BestCheckpoint(folder, monitor, mode),
        LastCheckpoint(folder / "last.ckpt", run.checkpoint_every, validate_every),
        Pictures(folder / "pictures", classes),
        ProgressBar(batch),
    ]
    if run.ema:
        callbacks.append(AveragedWeights(run.ema))
    return lightning.Trainer(
        accelerator="auto",
        devices=run.devices,
        num_nodes=run.nodes,
        use_distributed_sampler=False,  # ours takes each process's share itself
        sync_batchnorm=torch.cuda.is_available(),  # of a joint batch; on CPUs torch has none
        precision=run.precision,
        max_steps=run.steps,
        val_check_interval=validate_every,
        check_val_every_n_epoch=None,
        logger=CSVLogger(folder, name="", version=""),
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        default_root_dir=folder,
        log_every_n_steps=min(_LOG_EVERY, run.steps),
        enable_model_summary=False,
    )


@rank_zero_only
def write_weights(learner: Learner, folder: Path, about: dict[str, Any]) -> None:
    """Write last.safetensors and best.safetensors; the last stay in the learner."""
    if (folder / "best.ckpt").is_file():
        last = {name: value.clone() for name, value in learner.state_dict().items()}
        learner.load_state_dict(read_checkpoint(folder / "best.ckpt")["state_dict"])
        save_model(learner.model, folder / "best.safetensors", about)
        learner.load_state_dict(last)
    save_model(learner.model, folder / WEIGHTS, about)  # comes last: it marks the run complete


@rank_zero_only
def write_config(folder: Path, config: TrainingConfig) -> None:
    """Write config.yaml, which can be given to --config."""
    replace_text(folder / "config.yaml", yaml.safe_dump(plain(config), sort_keys=False))


@rank_zero_only
def keep_metrics(folder: Path, done: int) -> None:
    """Rename metrics.csv, which Lightning deletes when a run goes on.

    Steps from `done` on are left out: they are done again.
    """
    path = folder / "metrics.csv"
    if not path.is_file():
        return
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]  # a killed process may have left half a line
    reader = csv.DictReader(whole.splitlines())
    rows = [row for row in reader if _step(row) < done]
    if not rows:
        path.unlink()
        return
    kept = io.StringIO()
    writer = csv.DictWriter(kept, list(reader.fieldnames or []))
    writer.writeheader()
    writer.writerows(rows)
    replace_text(path, kept.getvalue())
    names = (folder / f"metrics-{n}.csv" for n in itertools.count(1))
    path.rename(next(name for name in names if not name.exists()))


def _step(row: dict[str, str | None]) -> float:
    """The step of a row of metrics.csv, infinite where it is no whole row."""
    step = row.get("step")
    whole = None not in row and None not in row.values()
    return int(step) if whole and step and step.isdigit() else math.inf


@rank_zero_only
def print_once(text: str) -> None:
    """Print at once, and from one process alone."""
    print(text, flush=True)


def _expect_same_settings(folder: Path, config: TrainingConfig) -> None:
    """Refuse to continue a run under settings that would make another network of it."""
    path = folder / "config.yaml"
    begun = any((folder / name).is_file() for name in ("last.ckpt", WEIGHTS))
    if not begun or not path.is_file():
        return
    then, now = read_settings(path), deciding_settings(config, resumed=True)
    if "run.ema" in then:
        then["run.ema"] = "above 0" if then["run.ema"] else 0
    changed = [
        f"{name} was {then[name]}, now {now[name]}"
        for name in now
        if name in then and then[name] != now[name]
    ]
    if changed:
        raise ValueError(
            f"{folder} holds a run with other settings: {'; '.join(changed)}. Give this one "
            "another run.name, or delete that folder."
        )


def read_settings(path: Path) -> dict[str, Any]:
    """Read a run's config.yaml as flat settings by the names of the options, e.g. run.seed.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return flat(yaml.safe_load(path.read_text()))
    except (OSError, ValueError, yaml.YAMLError, AttributeError) as error:
        raise ValueError(
            f"{path} is no configuration of a training ({error}): restore it, or delete "
            f"{path.parent} to train from the start."
        ) from error
