"""last.ckpt, from which a run goes on as if it had never been killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt every so many steps and at the end; the old stays until the new is whole.

    Where a step is followed by validation, the checkpoint is written behind it: then it knows
    which weights were best. So it comes after the callback that keeps those.

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
            trainer.save_checkpoint(self.path)

    def on_validation_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Write it behind the validation of a training."""
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            trainer.save_checkpoint(self.path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """What Lightning saved: `global_step`, `state_dict` (averaged weights) and more."""
    return torch.load(path, map_location="cpu", weights_only=True)
