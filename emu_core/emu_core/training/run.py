"""One training run: from last.ckpt or from the start, to weights in its folder."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
from emu_core.training.learner import Learner, monitored
from emu_core.training.loader import TrainingLoader, training_loader, validation_loader
from emu_core.training.recipe import Data

WEIGHTS = "last.safetensors"
"""The weights that a complete run leaves in its folder."""

_LOG_EVERY = 20  # steps


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


def start(run: Run) -> None:
    """Prepare this process for a run: threads and seeds."""
    prepare_cpu(run.threads)
    lightning.seed_everything(run.seed, workers=True, verbose=False)


def training_batches(data: Data, samples: Samples, run: Run) -> TrainingLoader:
    """The batches of a whole run."""
    return training_loader(
        samples, data.augmentation, data.batch, run.steps, run.seed, data.workers, data.variants
    )


def complete(folder: Path, run: Run, config: dict[str, Any]) -> bool:
    """Whether a folder holds the weights of this run with all its steps.

    Raises:
        ValueError: what the folder holds was trained with other settings.
    """
    _expect_same_settings(folder, config)
    path = folder / WEIGHTS
    return path.is_file() and read_header(path)[1].get("steps", 0) >= run.steps


def fit(
    learner: Learner,
    loader: TrainingLoader,
    data: Data,
    run: Run,
    folder: Path,
    config: dict[str, Any],
) -> Path:
    """Train from last.ckpt or from the start, and write the weights.

    Leaves the averaged weights in the learner, and in `folder` config.yaml, last.ckpt, best.ckpt,
    last.safetensors, best.safetensors, metrics.csv (metrics-1.csv and so on of earlier calls) and
    pictures/.

    Args:
        learner: what to train.
        loader: `training_batches`.
        data: what it is watched on, and the size of a batch.
        run: how long, and how.
        folder: of this run.
        config: what config.yaml shall say.

    Returns:
        Path of last.safetensors.

    Raises:
        DataError: there is no data to validate on.
        FloatingPointError: the loss or its gradient is not finite.
        ValueError: last.ckpt is damaged.
    """
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
def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Leave config.yaml, which is a --config again."""
    replace_text(folder / "config.yaml", yaml.safe_dump(_plain(config), sort_keys=False))


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


def _expect_same_settings(folder: Path, config: dict[str, Any]) -> None:
    """Refuse to go on with a run under settings that would make another network of it."""
    path = folder / "config.yaml"
    begun = any((folder / name).is_file() for name in ("last.ckpt", WEIGHTS))
    if not begun or not path.is_file():
        return
    then, now = (_deciding(settings) for settings in (read_settings(path), _flat(_plain(config))))
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
    """What a run's config.yaml says, flat, by the options' names, e.g. run.seed.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return _flat(yaml.safe_load(path.read_text()))
    except (OSError, ValueError, yaml.YAMLError, AttributeError) as error:
        raise ValueError(
            f"{path} is no configuration of a training ({error}): restore it, or delete "
            f"{path.parent} to train from the start."
        ) from error


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def _deciding(settings: dict[str, Any]) -> dict[str, Any]:
    """What decides which network a run makes.

    A run may go on with more steps, other rates, on another machine, with another cache. It may
    not begin or cease to average its weights: it would go on from the average.
    """
    caches = ("data.cache", "distillation.cache")
    free = ("optimisation.", "run.", "data.root", "data.workers", *caches)
    deciding = {n: v for n, v in settings.items() if n == "run.seed" or not n.startswith(free)}
    if "run.ema" in settings:
        deciding["run.ema"] = "above 0" if settings["run.ema"] else 0
    return deciding


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """The same in what YAML knows, neither paths nor tuples."""
    return json.loads(json.dumps(config, default=str))
