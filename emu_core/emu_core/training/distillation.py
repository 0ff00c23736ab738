"""Distillation: one network learns from a teacher that needs many passes.

Its control differs only in having no teacher: stronger jitter and more steps alone can look like
an effect of distillation.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from emu_core.data.datasets import evenly
from emu_core.data.mixture import Mixture
from emu_core.data.survey import survey_training
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


def open_frames(config: StudentConfig) -> Mixture:
    """Open the frames that a student learns from, with and without ground truth.

    Raises:
        DataError: The data is missing.
        ValueError: There are no unlabelled frames, or no loss term would use them.
    """
    data, distillation = config.data, config.distillation
    frames, choice = data.open_training(unlabelled=True), distillation.unlabelled
    if data.mixture and choice is not None:
        raise ValueError(
            "distillation.unlabelled has no effect beside data.mixture: give a data set of the "
            "mixture `unlabelled: true` instead."
        )
    if choice == REST and (data.limit, data.sequences) == (None, None):
        raise ValueError(
            "distillation.unlabelled is rest, but neither data.limit nor data.sequences leaves "
            "frames out of train."
        )
    if choice == REST:
        (rest,) = data.open_training(rest=True, labelled=False).parts
        chosen = rest.select(evenly(len(rest), distillation.unlabelled_limit))
        frames = Mixture([*frames.parts, chosen])
    elif choice is not None:
        chosen = data.open(choice, distillation.unlabelled_limit, labelled=False)
        frames = Mixture([*frames.parts, chosen])
    without = sum(len(part) for part in frames.parts if not part.labelled)
    if without and config.architecture.task != "segmentation" and not config.loss.mean_weight:
        raise ValueError(
            f"{without} frames have no ground truth, but no loss term trains the mean depth of "
            "such frames: set loss.mean_weight above 0, or leave these frames out."
        )
    return frames


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
    if (
        teacher_file.is_file()
        and teacher_id
        and teacher_file.read_text("utf-8").strip() != teacher_id
    ):
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
    samples = open_frames(config)
    check_start(config)
    architecture = config.architecture
    lines = survey_training(samples, architecture.task, architecture.continues)
    print_once("\n".join(lines))
    inputs = replace(config, data=distillation.inputs(config.data))
    network = build_network(architecture, samples.classes, samples, inputs.data.augmentation)
    student = Student(network, config, samples, teacher, cache)
    if teacher_id:
        rank_zero_only(write_text)(teacher_file, teacher_id + "\n")
    return fit(student, training_batches(inputs, samples), folder)


def train_control(config: StudentConfig, folder: Path) -> Path:
    """Train the student's control: the same inputs and ground truth, but no teacher."""
    return train_network(config.supervised, folder)
