"""Lightning callbacks: checkpoints, averaged weights, pictures and the progress bar."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import lightning
import torch
from lightning.pytorch.callbacks import (
    Checkpoint,
    ModelCheckpoint,
    TQDMProgressBar,
    WeightAveraging,
)
from lightning.pytorch.plugins import TorchCheckpointIO
from torch import Tensor

from emu_core.files import write_atomically
from emu_core.labels import ClassTable
from emu_core.networks.formats import first_line
from emu_core.runtime.overlay import panel
from emu_core.training.export import to_perception


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in the same folder, then renames it.

    Lightning's own class copies it from the system's temporary folder. This is not atomic if that
    folder is on another file system. Nothing but plain values is read.

    Args:
        learned: What the network learns (`networks.learned`); it is kept in every checkpoint.
    """

    def __init__(self, learned: Mapping[str, Any] = MappingProxyType({})) -> None:
        super().__init__()
        self.learned = dict(learned)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        checkpoint = {**checkpoint, "learned": self.learned}
        write_atomically(path, lambda part: torch.save(checkpoint, part), f"{path}.part")

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(path)


class BestCheckpoint(ModelCheckpoint):
    """Keeps best.ckpt. Unlike in Lightning's class, its score survives a move of the folder."""

    def __init__(self, folder: str | Path, monitor: str, mode: str):
        super().__init__(folder, "best", monitor=monitor, mode=mode, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def in_this_folder(path: str) -> str:
            return os.path.join(str(self.dirpath), os.path.basename(path)) if path else path

        names = ("best_model_path", "kth_best_model_path", "last_model_path")
        best = {in_this_folder(path): score for path, score in state_dict["best_k_models"].items()}
        paths = {name: in_this_folder(state_dict[name]) for name in names}
        moved = {**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath}
        super().load_state_dict(moved)


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt every `every` steps, at each validation and at the end.

    If a validation follows a step, the checkpoint is written after the validation and after
    `BestCheckpoint`. If it were written before, as `ModelCheckpoint` does, a run that is killed
    during the validation would skip this validation when it resumes. The loggers are saved first,
    so a killed run loses no metrics of the steps before its checkpoint.
    """

    def __init__(self, path: str | Path, every: int, validate_every: int):
        self.path, self.every, self.validate_every = Path(path), every, validate_every

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        step = trainer.global_step
        scheduled = step % self.every == 0 or step == trainer.max_steps
        if scheduled and step % self.validate_every:
            self._write(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._write(trainer)

    def _write(self, trainer: lightning.Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()
        trainer.save_checkpoint(self.path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of Lightning with its averaged weights; ValueError if it is damaged."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        missing = {"state_dict", "global_step"} - set(checkpoint)
        problem = f"it lacks {', '.join(sorted(missing))}" if missing else ""
    except Exception as error:  # a damaged pickle can raise anything
        problem = first_line(error)
    if problem:
        raise ValueError(
            f"{path} cannot be read as a checkpoint: {problem}. Delete it to train from the start."
        )
    return checkpoint


class AveragedWeights(WeightAveraging):
    """Exponential moving average of the weights, updated after every step.

    The decay after n steps is min(decay, (1 + n) / (10 + n)). With a constant decay of 0.999, a
    third of the average would still be the initial weights after 1,000 steps.
    """

    def __init__(self, decay: float):
        super().__init__(avg_fn=lambda old, new, count: average(old, new, count, decay))


def average(averaged: Tensor, current: Tensor, count: Tensor | int, decay: float) -> Tensor:
    """Update the average of one parameter or buffer; `count` is the number of earlier updates."""
    effective_decay = min(decay, (1 + int(count)) / (10 + int(count)))
    return averaged + (1 - effective_decay) * (current - averaged)  # exact where both are equal


class Pictures(lightning.Callback):
    """Writes a picture of the first validation frame, STEP.jpg, at every validation."""

    def __init__(self, folder: str | Path, classes: ClassTable):
        self.folder, self.classes = Path(folder), classes

    def on_validation_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        _, outputs, batch, index, loader = (*args, 0)[:5]
        if index or loader or trainer.sanity_checking or not trainer.is_global_zero:
            return
        image = batch["image"][0].permute(1, 2, 0).cpu().numpy()
        factor = float(batch["depth_factor"][0])
        perception = to_perception(outputs["prediction"], self.classes.sky, factor=factor)
        picture = panel(image, perception, self.classes, (f"step {trainer.global_step}",))
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{trainer.global_step:06d}.jpg"
        cv2.imwrite(str(path), picture[..., ::-1])


class ProgressLines(lightning.Callback):
    """Prints a line from time to time, for logs; control codes of a bar would fill them.

    Args:
        batch: Images per step.
        lines: Number of lines in a complete training.
    """

    def __init__(self, batch: int, lines: int = 20):
        self.batch, self.lines = batch, lines
        self._last = (0, 0.0)  # step and time of the last line

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._last = (trainer.global_step, time.monotonic())

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        step, total = trainer.global_step, int(trainer.max_steps)
        if not trainer.is_global_zero or (step % max(total // self.lines, 1) and step < total):
            return
        (before, begun), now = self._last, time.monotonic()
        rate = (step - before) * self.batch / max(now - begun, 1e-9)
        losses = {k: float(v) for k, v in trainer.progress_bar_metrics.items() if k != "v_num"}
        text = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        print(f"step {step} of {total}: {text}, {rate:.1f} images/s", flush=True)
        self._last = (step, now)


def progress(batch: int) -> lightning.Callback:
    """Return a progress bar for a terminal, otherwise lines; `batch` is images per step."""
    return ProgressBar(batch) if sys.stdout.isatty() else ProgressLines(batch)


class ProgressBar(TQDMProgressBar):
    """Progress bar with training images per second; `batch` is the number of images per step."""

    def __init__(self, batch: int):
        super().__init__(refresh_rate=10)
        self.batch = batch
        self._last_end: float | None = None  # time at which the last step ended
        self._seconds: float | None = None  # per step, moving average over about 20 steps

    def on_train_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        super().on_train_start(trainer, *args)
        self.train_progress_bar.total = trainer.max_steps
        self.train_progress_bar.initial = trainer.global_step
        # A run that resumes within an epoch does not call `on_train_epoch_start`.
        self.train_progress_bar.set_description("steps")

    def on_train_epoch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description("steps")

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        now = time.monotonic()
        if self._last_end is not None:
            last = now - self._last_end
            self._seconds = last if self._seconds is None else self._seconds * 0.95 + last * 0.05
        self._last_end = now
        super().on_train_batch_end(trainer, *args)

    def on_validation_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        super().on_validation_end(trainer, *args)
        self._last_end = None

    def get_metrics(self, *args: Any) -> dict[str, int | str | float | dict[str, float]]:
        items = super().get_metrics(*args)
        items.pop("v_num", None)
        if self._seconds:
            items["images/s"] = f"{self.batch / self._seconds:.1f}"
        return items
