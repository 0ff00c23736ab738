"""One training run: from last.ckpt or from the start, to weights in its folder."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from emu_core.data.sample import Samples
from emu_core.files import write_text
from emu_core.networks.exported import SUFFIX
from emu_core.networks.learned import MEANING, check_weights, expect_same
from emu_core.networks.weights import encoder_digest, read_header, save_model
from emu_core.runtime.model_file import read_info
from emu_core.training.callbacks import (
    AtomicCheckpoints,
    AveragedWeights,
    BestCheckpoint,
    LastCheckpoint,
    Pictures,
    progress,
    read_checkpoint,
)
from emu_core.training.command import prepare_cpu
from emu_core.training.config import Run, TrainingConfig, deciding_settings, flat, plain
from emu_core.training.learner import Learner, Student, monitored
from emu_core.training.loader import TrainingLoader, training_loader, validation_loader

WEIGHTS = "last.safetensors"
"""The weights that a complete run leaves in its folder."""

LAST = "last.ckpt"
"""The checkpoint that a run resumes from."""

_LOG_EVERY = 20  # steps


def start(run: Run) -> None:
    """Prepare this process for a run: threads and seeds."""
    prepare_cpu(run.threads)
    lightning.seed_everything(run.seed, workers=True, verbose=False)


def training_batches(config: TrainingConfig, samples: Samples) -> TrainingLoader:
    data, run = config.data, config.run
    return training_loader(
        samples, data.augmentation, data.batch, run.steps, run.seed, data.workers, data.variants
    )


def complete(
    folder: Path, config: TrainingConfig, method: str = "network", trunk: str | None = None
) -> bool:
    """Check whether a folder holds the weights of this run after all its steps.

    Args:
        folder: Folder of the run.
        config: Its settings.
        method, trunk: As for `describe_training`.

    Raises:
        ValueError: The run in the folder has other settings.
    """
    _expect_same_settings(folder, config)
    expected, path, last = (
        describe_training(config, method, trunk),
        folder / WEIGHTS,
        folder / LAST,
    )
    if not path.is_file():
        if last.is_file():
            _expect_same_run(last, read_checkpoint(last), expected)
        return False
    metadata = read_header(path)[1]
    _expect_same_run(path, metadata, expected)
    return metadata.get("steps", 0) >= config.run.steps


def describe_training(
    config: TrainingConfig, method: str = "network", trunk: str | None = None
) -> dict[str, Any]:
    """Return what networks of a training learn, without their classes, as `networks.learned` does.

    Args:
        config: Settings of the training.
        method: network, head or student.
        trunk: Digest of the encoder that heads share.
    """
    data, whole = config.data, config.data.whole_images
    return {
        "method": method,
        "trunk": trunk,
        "data": sorted({source.kind for source in data.sources}),
        "canonical_focal": whole.canonical_focal,
        "image_width": whole.image_width or whole.width,
        "input_size": [whole.height, whole.width],
        "depth_limit": whole.depth_limit,
    }


def learned_by(learner: Learner) -> dict[str, Any]:
    """Return what a learner's network learns, as `networks.learned` describes it."""
    network, trunk = learner.model, None
    method = "student" if isinstance(learner, Student) else "network"
    if network.encoder_frozen:
        method, trunk = "head", encoder_digest(network)
    found = describe_training(learner.config, method, trunk)
    return {**found, "classes": list(learner.classes.names), "max_depth": learner.max_depth}


def check_start(config: TrainingConfig) -> None:
    """Check that the weights in architecture.init learned the scale of depth of this training.

    Other classes are allowed: `build_network` leaves out the layer that depends on them.

    Raises:
        WeightsError: They have another scale, or the file is damaged.
    """
    init, keys = config.architecture.init, MEANING[1:]
    if init is None or config.architecture.task == "segmentation":
        return
    expected, source = describe_training(config), "this training (architecture.init)"
    advice = "Train with the values of that file, or give it to architecture.encoder instead."
    if init.suffix != SUFFIX:
        check_weights(init, expected, source, advice, keys)
    elif expected["canonical_focal"] is not None:  # the file has one also for plain metres
        focal = read_info(init).canonical_focal
        found = {} if focal is None else {"canonical_focal": focal}
        expect_same(init, found, expected, source, "Train with the values of that file.", keys)


def fit(learner: Learner, loader: TrainingLoader, folder: Path) -> Path:
    """Train from last.ckpt or from the start, and write the weights.

    Leaves the averaged weights in the learner, and in `folder` config.yaml, last.ckpt, best.ckpt,
    last.safetensors, best.safetensors, metrics.csv (metrics-1.csv and so on of earlier calls) and
    pictures/. `loader` is the result of `training_batches`.

    Returns:
        Path of last.safetensors.

    Raises:
        DataError: There is no data for validation.
        FloatingPointError: The loss or its gradient is not finite.
        ValueError: last.ckpt is damaged.
    """
    data, run = learner.config.data, learner.config.run
    learner.held_out, whole = data.open_validation(), data.whole_images
    pixels = data.augmentation.height * data.augmentation.width
    batch = max(data.batch * pixels // (whole.height * whole.width), 1)
    validation = [validation_loader(held_out, whole, batch) for held_out in learner.held_out]
    write_config(folder, learner.config)
    last, done = folder / LAST, 0
    if last.is_file():
        checkpoint = read_checkpoint(last)
        _expect_same_run(last, checkpoint, learned_by(learner))
        _expect_same_network(last, checkpoint["state_dict"], learner)
        done = checkpoint["global_step"]
        print_once(f"{last} has {done} of {run.steps} steps")
        if done >= run.steps:  # Lightning would leave the weights that are not averaged
            learner.load_state_dict(checkpoint["state_dict"])
            write_weights(learner, folder, done)
            return folder / WEIGHTS
        keep_metrics(folder, done)
        del checkpoint
    trainer = make_trainer(learner, folder)
    trainer.fit(learner, loader, validation, ckpt_path=last if done else None)
    write_weights(learner, folder, trainer.global_step)
    trainer.strategy.barrier("weights")  # the other processes read them next
    return folder / WEIGHTS


def make_trainer(learner: Learner, folder: Path) -> lightning.Trainer:
    data, run = learner.config.data, learner.config.run
    validate_every = min(run.validate_every, run.steps)
    callbacks = [
        BestCheckpoint(folder, *monitored(learner.model)),
        LastCheckpoint(folder / LAST, run.checkpoint_every, validate_every),
        Pictures(folder / "pictures", learner.classes),
        progress(data.batch),
    ]
    if run.ema:
        callbacks.append(AveragedWeights(run.ema))
    return lightning.Trainer(
        accelerator="auto",
        devices=run.devices,
        num_nodes=run.nodes,
        use_distributed_sampler=False,  # `StepBatches` takes each process's share itself
        sync_batchnorm=torch.cuda.is_available(),  # torch has none for CPUs
        precision=run.precision,
        max_steps=run.steps,
        val_check_interval=validate_every,
        check_val_every_n_epoch=None,
        logger=CSVLogger(folder, name="", version=""),
        callbacks=callbacks,
        plugins=[AtomicCheckpoints(learned_by(learner))],
        default_root_dir=folder,
        log_every_n_steps=min(_LOG_EVERY, run.steps),
        enable_model_summary=False,
        enable_progress_bar=sys.stdout.isatty(),
    )


@rank_zero_only
def write_weights(learner: Learner, folder: Path, steps: int) -> None:
    """Write last.safetensors and best.safetensors; the last weights stay in the learner."""
    seed, learned = learner.config.run.seed, learned_by(learner)
    metadata = {"steps": steps, "seed": seed, "learned": learned}
    if (folder / "best.ckpt").is_file():
        last = {name: value.clone() for name, value in learner.state_dict().items()}
        learner.load_state_dict(read_checkpoint(folder / "best.ckpt")["state_dict"])
        save_model(learner.model, folder / "best.safetensors", metadata)
        learner.load_state_dict(last)
    save_model(learner.model, folder / WEIGHTS, metadata)  # at the end: it marks the run complete


@rank_zero_only
def write_config(folder: Path, config: TrainingConfig) -> None:
    """Write config.yaml, which can be given to --config."""
    write_text(folder / "config.yaml", yaml.safe_dump(plain(config), sort_keys=False))


@rank_zero_only
def keep_metrics(folder: Path, done: int) -> None:
    """Rename metrics.csv, which Lightning would delete when a run is resumed.

    Rows of steps from `done` on are left out: these steps are repeated.
    """
    path = folder / "metrics.csv"
    if not path.is_file():
        return
    lines = path.read_bytes().decode().splitlines(keepends=True)
    lines = [line for line in lines if line.endswith("\n")]  # a kill may leave a partial line
    columns = lines[0].strip().split(",") if lines else []
    kept = []
    for line in lines[1:]:
        values = line.rstrip("\r\n").split(",")
        step = dict(zip(columns, values, strict=False)).get("step", "")
        if len(values) == len(columns) and step.isdigit() and int(step) < done:
            kept.append(line)
    if not kept:
        path.unlink()
        return
    write_text(path, "".join((lines[0], *kept)))
    names = (folder / f"metrics-{n}.csv" for n in itertools.count(1))
    path.rename(next(name for name in names if not name.exists()))


@rank_zero_only
def print_once(text: str) -> None:
    """Print from the first process, without buffering."""
    print(text, flush=True)


def _expect_same_settings(folder: Path, config: TrainingConfig) -> None:
    """Refuse to resume a run with settings that a resumed run must not change."""
    path = folder / "config.yaml"
    begun = any((folder / name).is_file() for name in (LAST, WEIGHTS))
    if not begun or not path.is_file():
        return
    then, now = read_settings(path), deciding_settings(config, resumed=True)
    ema = "run.ema"
    if bool(then.get(ema)) != bool(config.run.ema):  # the decay may change, but not from or to 0
        now[ema] = config.run.ema
    changed = [name for name in now if name in then and then[name] != now[name]]
    if changed:
        changes = "; ".join(f"{name} was {then[name]}, now {now[name]}" for name in changed)
        raise ValueError(
            f"{folder} holds a run with other settings: {changes}. Choose another run.name, or "
            "delete that folder."
        )


def _expect_same_run(path: Path, content: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse to resume from a file whose network learned something else."""
    advice = f"Choose another run.name, or delete {path.parent}."
    expect_same(path, content.get("learned", {}), expected, "this run", advice)


def _expect_same_network(path: Path, weights: Mapping[str, Tensor], learner: Learner) -> None:
    own = learner.state_dict()
    shapes = {name: x.shape for name, x in weights.items()}
    other = [name for name in {**own, **shapes} if name not in own or name not in shapes]
    other += [name for name, x in own.items() if name in shapes and shapes[name] != x.shape]
    if other:
        raise ValueError(
            f"{path} is the checkpoint of another network: {len(other)} tensors differ, e.g. "
            f"{other[0]}. Choose another run.name, or delete {path.parent}."
        )


def read_settings(path: Path) -> dict[str, Any]:
    """Read a run's config.yaml by the names of the options; ValueError if it cannot be read."""
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise ValueError("it holds no options")
        return flat(settings)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(
            f"{path} is not the configuration of a training ({error}): restore it, or delete "
            f"{path.parent} to train from the start."
        ) from error
