"""last.ckpt, from which a run goes on as if it had never been killed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint


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
