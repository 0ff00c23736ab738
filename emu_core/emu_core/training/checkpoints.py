"""last.ckpt, from which a run goes on as if it had never been killed, and best.ckpt."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO

from emu_core.whole_files import replace_file


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
