"""A student with a cache: `python killed_student.py DATA FOLDER FILES`.

Kills itself when the cache has so many files. `test_killed_student` starts it, and trains students
that are not killed.
"""

import os
import signal
import sys
from pathlib import Path

import torch

from emu_core.data.augment import Augmentation
from emu_core.methods.deep_ensemble import DeepEnsemble
from emu_core.networks import SegDepthFormer
from emu_core.training import teacher_cache
from emu_core.training.config import Data, Distillation, Optimisation, Run, StudentConfig
from emu_core.training.distillation import train_student

STEPS = {"steps": 5, "validate_every": 3, "checkpoint_every": 2}


def network(seed):
    torch.manual_seed(seed)
    return SegDepthFormer("b0")


def train(data, folder):
    """Train a student in folder/student, with the cache in folder/cache."""
    config = StudentConfig(
        Data(root=data, augmentation=Augmentation(64, 128), batch=2, workers=0),
        optimisation=Optimisation(warmup=1),
        run=Run(seed=100, precision="32-true", threads=1, **STEPS),
        distillation=Distillation(variants=1, cache=folder / "cache"),
    )
    teacher = DeepEnsemble([network(1), network(2)])
    return train_student(config, folder / "student", teacher, "it")


if __name__ == "__main__":
    data, folder, files = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    write = teacher_cache.write_atomically

    def write_or_die(file, *arguments):
        write(file, *arguments)
        if len(list(file.parent.iterdir())) == files:
            os.kill(os.getpid(), signal.SIGKILL)

    teacher_cache.write_atomically = write_or_die
    train(data, folder)
