"""What a training looks like from outside: pictures of validation, images per second."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import lightning
import numpy as np
from lightning.pytorch.callbacks import TQDMProgressBar

from emu_core.labels import IGNORE, ClassTable
from emu_core.overlay import panel
from emu_core.perceiver import Perception
from emu_core.prediction import Prediction
from emu_core.training.loader import Batch
from emu_core.uncertainty import normalized_entropy


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
