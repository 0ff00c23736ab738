"""Distillation: one network learns from a teacher that needs many passes.

Its control differs only in having no teacher: stronger jitter and more steps alone can look like
an effect of distillation.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import ConcatDataset

from emu_core.data.datasets import DataSet, evenly
from emu_core.data.sample import Samples
from emu_core.files import write_text
from emu_core.methods.registry import Method
from emu_core.training.build import build_network
from emu_core.training.config import REST, StudentConfig
from emu_core.training.learner import Student
from emu_core.training.run import (
    WEIGHTS,
    check_start,
    complete,
    fit,
    print_once,
    start,
    training_batches,
)
from emu_core.training.teacher import train_network
from emu_core.training.teacher_cache import TeacherCache

_TEACHER = "teacher.txt"


def open_frames(config: StudentConfig) -> tuple[DataSet, DataSet | None]:
    """Open the labelled frames that a student learns from, and the unlabelled ones or None.

    Raises:
        DataError: The data is missing.
        ValueError: There are no unlabelled frames, or no loss term would use them.
    """
    data, distillation = config.data, config.distillation
    labelled, choice = data.open_training(), distillation.unlabelled
    if choice is None:
        return labelled, None
    if choice != REST:
        unlabelled = data.open(choice, distillation.unlabelled_limit, labelled=False)
    elif (data.limit, data.sequences) == (None, None):
        raise ValueError(
            "distillation.unlabelled is rest, but neither data.limit nor data.sequences leaves "
            "frames out of train."
        )
    else:
        rest = data.open_training(rest=True, labelled=False)
        unlabelled = rest.select(evenly(len(rest), distillation.unlabelled_limit))
    if config.architecture.task != "segmentation" and not config.loss.mean_weight:
        raise ValueError(
            f"distillation.unlabelled adds {len(unlabelled)} frames without ground truth, but no "
            "loss term trains the mean depth of such frames: set loss.mean_weight above 0, or "
            "leave these frames out."
        )
    return labelled, unlabelled


def train_student(
    config: StudentConfig, folder: Path, teacher: Method, teacher_id: str = ""
) -> Path:
    """Distil a teacher into one network; leaves the files of `run.fit` in `folder`.

    Args:
        config: `data` is what the teacher's members were trained on.
        folder: Folder of this run.
        teacher: Predicts each batch, unless the cache holds its prediction.
        teacher_id: Digest of the teacher's files: a student is only continued with its own
            teacher.

    Returns:
        folder/last.safetensors; a complete student is not trained again.

    Raises:
        ValueError: The folder holds a student of another teacher or with other settings.
    """
    teacher_file = folder / _TEACHER
    if teacher_file.is_file() and teacher_id and teacher_file.read_text().strip() != teacher_id:
        raise ValueError(
            f"{folder} holds a student of another teacher. Choose another run.name, or delete "
            "that folder."
        )
    if complete(folder, config, "student"):
        return folder / WEIGHTS
    distillation, cache = config.distillation, None
    if distillation.cache is not None:
        cache = TeacherCache(distillation.cache, teacher_id)
    start(config.run)
    labelled, unlabelled = open_frames(config)
    check_start(config, labelled.classes)
    samples: Samples = labelled
    if unlabelled is not None:
        samples = ConcatDataset([labelled, unlabelled])  # type: ignore[list-item, assignment]
    inputs = replace(config, data=distillation.inputs(config.data))
    print_once(
        f"{len(labelled)} labelled and {0 if unlabelled is None else len(unlabelled)} unlabelled "
        f"images from {config.data.root}, depth valid up to {labelled.max_depth:g} m"
    )
    network = build_network(
        config.architecture, len(labelled.classes), labelled, inputs.data.augmentation
    )
    student = Student(network, config, labelled, teacher, cache)
    if teacher_id:
        rank_zero_only(write_text)(teacher_file, teacher_id + "\n")
    return fit(student, training_batches(inputs, samples), folder)


def train_control(config: StudentConfig, folder: Path) -> Path:
    """Train the student's control: the same inputs and ground truth, but no teacher."""
    return train_network(config.supervised, folder)
