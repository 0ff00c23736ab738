"""last.ckpt, from which a run goes on as if it had never been killed, and best.ckpt."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path
from typing import Any

import cv2
import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import (
    Checkpoint,
    ModelCheckpoint,
    TQDMProgressBar,
    WeightAveraging,
)
from lightning.pytorch.plugins import TorchCheckpointIO
from torch import Tensor

from emu_core.files import replace_file
from emu_core.labels import IGNORE, ClassTable
from emu_core.methods.prediction import Prediction
from emu_core.methods.uncertainty import normalized_entropy
from emu_core.runtime.overlay import panel
from emu_core.runtime.perceiver import Perception
from emu_core.training.loader import Batch


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints beside their place and moves them there: the old stay till the new are
    whole.

    Lightning's own are written to the folder for temporary files, from which they are copied where
    that is another file system.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write one; Lightning lets the first process alone do so."""
        replace_file(path, lambda part: torch.save(checkpoint, part), f"{path}.part")


class BestCheckpoint(ModelCheckpoint):
    """Keeps best.ckpt, and knows its score in a run's folder that was moved, too.

    Args:
        folder: that it lies in.
        monitor: the score.
        mode: min or max, where it is best.
    """

    def __init__(self, folder: str | Path, monitor: str, mode: str):
        super().__init__(folder, "best", monitor=monitor, mode=mode, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state over, with its files in this folder."""

        def here(path: str) -> str:
            return os.path.join(str(self.dirpath), os.path.basename(path)) if path else path

        names = ("best_model_path", "kth_best_model_path", "last_model_path")
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        paths = {name: here(state_dict[name]) for name in names}
        moved = {**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath}
        super().load_state_dict(moved)


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt every so many steps and at the end; the old stays until the new is whole.

    Where a step is followed by validation, the checkpoint is written behind it: then it knows
    which weights were best. So it comes after the callback that keeps those. The logs reach the
    disk before it: what a resumed run does not do again must not be lost with the process.

    Args:
        path: of the file.
        every: steps between two of them.
        validate_every: steps between two validations.
    """

    def __init__(self, path: str | Path, every: int, validate_every: int):
        self.path, self.every, self.validate_every = Path(path), every, validate_every

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Write it, unless validation comes first."""
        step = trainer.global_step
        due = step % self.every == 0 or step == trainer.max_steps
        if due and step % self.validate_every:
            self._write(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Write it behind the validation of a training."""
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._write(trainer)

    def _write(self, trainer: lightning.Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()
        trainer.save_checkpoint(self.path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """What Lightning saved: `global_step`, `state_dict` (averaged weights) and more.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint; delete it to train from the start. {error}"
        ) from error


class AveragedWeights(WeightAveraging):
    """Exponential moving average of the weights after every step.

    The decay grows with the steps, min(decay, (1 + n) / (10 + n)): at a constant 0.999 the
    untrained weights would still make up a third after 1,000 steps.
    """

    def __init__(self, decay: float):
        super().__init__(avg_fn=lambda old, new, count: average(old, new, count, decay))


def average(averaged: Tensor, current: Tensor, count: Tensor | int, decay: float) -> Tensor:
    """The next average after `count` earlier ones, of one parameter or buffer."""
    kept = min(decay, (1 + int(count)) / (10 + int(count)))
    return averaged + (1 - kept) * (current - averaged)  # exact where both are the same


class Pictures(lightning.Callback):
    """Writes a panel of validation's first frame, STEP.jpg, at every validation.

    Args:
        folder: made if it is not there.
        classes: of the labels.
    """

    def __init__(self, folder: str | Path, classes: ClassTable):
        self.folder, self.classes = Path(folder), classes

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the picture."""
        if batch_idx or trainer.sanity_checking or not trainer.is_global_zero:
            return
        image = batch["image"][0].permute(1, 2, 0).cpu().numpy()
        perception = to_perception(
            outputs["prediction"], float(batch["depth_factor"][0]), self.classes
        )
        picture = panel(image, perception, self.classes, (f"step {trainer.global_step}",))
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{trainer.global_step:06d}.jpg"
        cv2.imwrite(str(path), picture[..., ::-1])


def to_perception(prediction: Prediction, factor: float, classes: ClassTable) -> Perception:
    """The first image of a Prediction as a robot would receive it.

    What the network does not predict is unlabelled, or without estimate.

    Args:
        factor: turns canonical metres into metres.
    """
    maps = prediction.probabilities
    if maps is None:
        maps = prediction.depth_mean
    assert maps is not None
    shape = tuple(maps.shape[-2:])
    labels, uncertainty = np.full(shape, IGNORE, np.uint8), np.ones(shape, np.float32)
    depth = std = np.full(shape, np.nan, np.float32)
    if prediction.probabilities is not None:
        first = prediction.probabilities[:1].float().cpu()
        labels = first[0].argmax(0).numpy().astype(np.uint8)
        uncertainty = normalized_entropy(first)[0, 0].numpy()
    if prediction.depth_mean is not None and prediction.depth_variance is not None:
        depth = (prediction.depth_mean[0, 0].float() * factor).cpu().numpy()
        std = (prediction.depth_variance[0, 0].float().sqrt() * factor).cpu().numpy()
        mark = np.where(depth > 0, np.float32(0), np.float32(np.nan))
        if classes.sky is not None:
            mark[labels == classes.sky] = np.inf
        depth, std = depth + mark, std + mark
    return Perception(labels, uncertainty, depth, std)


class ProgressBar(TQDMProgressBar):
    """Lightning's, with images per second; validation's time does not count.

    Args:
        batch: images per step.
    """

    def __init__(self, batch: int):
        super().__init__(refresh_rate=10)
        self.batch = batch
        self._ended: float | None = None  # when the last step did
        self._seconds: float | None = None  # of a step, averaged over some twenty

    def on_train_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        """Tell the bar where it begins: a training that goes on does not begin an epoch."""
        super().on_train_start(trainer, *args)
        bar = self.train_progress_bar
        bar.total, bar.initial = trainer.max_steps, trainer.global_step
        bar.set_description("steps")

    def on_train_epoch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        """Call the bar what it counts: a training is one long epoch to Lightning."""
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description("steps")

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        """Take the time."""
        now = time.monotonic()
        if self._ended is not None:
            last = now - self._ended
            self._seconds = last if self._seconds is None else self._seconds * 0.95 + last * 0.05
        self._ended = now
        super().on_train_batch_end(trainer, *args)

    def on_validation_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        """Begin to count anew."""
        super().on_validation_end(trainer, *args)
        self._ended = None

    def get_metrics(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """What stands behind the bar."""
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        if self._seconds:
            items["images/s"] = f"{self.batch / self._seconds:.1f}"
        return items
