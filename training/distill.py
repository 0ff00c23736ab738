r"""Distil an ensemble into one network: teacher, student, evaluation, model file.

    python training/distill.py            # everything, on a few small drives, in ten minutes
    python training/distill.py --config training/configs/b0_drives.yaml --run.name distilled \
        --teacher.folder runs/teacher     # with members from train_teacher.py
    python training/distill.py --config training/configs/cityscapes.yaml --run.name emuformer_b2 \
        --architecture.variant b2 --teacher.members 10 --control true
    python training/distill.py --help

Without --config, the command uses training/configs/distill_tiny.yaml and renders its drives.
Output in runs/NAME: teacher/member-K and student (and control: the same training without a
teacher), each as train_teacher.py describes; evaluation: tables and plots of single network,
ensemble and student on frames that none of them was trained on; student.onnx, the model file for a
robot. The same command resumes where it stopped and skips all complete steps.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch

from emu_core.data.sample import DataError
from emu_core.data.survey import survey_training
from emu_core.drives.splits import load_splits
from emu_core.evaluation.candidate import Candidate
from emu_core.evaluation.report import compare
from emu_core.evaluation.splits import Split
from emu_core.evaluation.tables import summary
from emu_core.files import digest, expand
from emu_core.methods.registry import METHODS, LoadOptions, load_method
from emu_core.networks import load_model
from emu_core.training.command import (
    cache_sizes,
    check_devices,
    is_first_process,
    parse_config,
    require_training_space,
    run_command,
)
from emu_core.training.config import Run, StudentConfig, TrainingConfig
from emu_core.training.distillation import open_frames, train_control, train_student
from emu_core.training.export import export
from emu_core.training.release import model_facts
from emu_core.training.run import check_start, write_config
from emu_core.training.teacher import (
    Teacher,
    check_teacher,
    obtain_teacher,
    single_networks,
)

HERE = Path(__file__).parent
TINY = HERE / "configs" / "distill_tiny.yaml"


@dataclass(frozen=True)
class DistillConfig(StudentConfig):
    """Training of a teacher and its student, their evaluation, and the student's model file.

    The teacher is trained with the student's settings on ground truth, where `teacher` has no
    others.

    Args:
        teacher: Teacher: trained first, or taken from a folder
        control: Also train a control: the student's labelled inputs, start and number of steps,
            but no teacher.
        render: List of drives that are rendered into data.root if they are missing: a file, or the
            name of a file in training/configs; null for none.
    """

    run: Run = field(default_factory=lambda: Run(name="distilled", seed=100))
    teacher: Teacher = field(default_factory=Teacher)
    control: bool = False
    render: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        task = self.architecture.task
        theirs = (self.teacher.architecture or self.architecture).task
        if theirs not in ("joint", task):
            raise ValueError(
                f"teacher.architecture.task is {theirs}, but the student's architecture.task is "
                f"{task}: it would learn nothing about the other task. Set the teacher's to joint."
            )


def distill(config: DistillConfig) -> None:
    """Distil a teacher into one network."""
    data, folder = config.data, Path("runs") / config.run.name
    if config.render is not None:
        render_drives(config.render, data.root)
    # Missing data, and what makes a model file impossible, is reported before hours of training.
    frames, _, _ = open_frames(config), data.open_validation(), data.open_scored()
    survey_training(frames, config.architecture.task, config.architecture.continues)
    check_start(config)
    model_facts(config.distillation.inputs(data), config.run, task=config.architecture.task)
    check_devices(config.run)
    student = StudentConfig.part_of(config)
    require_training_space(folder, trainings(config), cache_sizes(student))
    write_config(folder, config)
    with stage("Teacher"):
        kind, members = obtain_teacher(config.teacher, student, folder / "teacher")
        check_teacher(members, student, frames.classes)
    with stage("Student"):
        method = load_method(kind, members, LoadOptions(in_memory=True))
        weights = train_student(student, folder / "student", method, digest(members))
        networks = {"student": weights}
        del method
    if config.control:
        with stage("Control"):
            networks["control"] = train_control(student, folder / "control")
    if not is_first_process():
        return
    with stage("Evaluation"):
        splits = {name: Split(data, part) for name, part in data.open_scored().items()}
        table = evaluate(kind, members, networks, splits, folder / "evaluation")
        for name, split in splits.items():
            print(f"{name}, {len(split)} images; more in {folder}/evaluation/evaluation.md")
            print(summary(table[table.split == name]))
    with stage("Model file"):
        method_kind = METHODS[kind]
        several = method_kind.takes_all_files
        teacher = f"{len(members)} networks" if several else f"a {method_kind.heading}"
        unlabelled = [
            f"{len(part)} {part.image_source} ({part.root}, split {part.split})"
            for part in frames.parts
            if not part.labelled
        ]
        also = f", also on {'; '.join(unlabelled)} without ground truth" if unlabelled else ""
        note, path = f"distilled from {teacher}{also}", folder / "student.onnx"
        write_model(weights, table[table.method == "student"], note, student, path)


def trainings(config: DistillConfig) -> list[TrainingConfig]:
    """Return one configuration for each network that is trained, as far as its size goes."""
    student, teacher = StudentConfig.part_of(config), config.teacher
    member = replace(student, architecture=teacher.architecture or student.architecture)
    members = teacher.members if teacher.folder is None else 0
    return [member] * members + [student] * (1 + config.control)


def render_drives(drives: Path, root: Path) -> None:
    """Render a list of drives, unless all frames are there.

    Raises:
        DataError: Rendering failed; the rendering command has printed why.
    """
    path = drives if drives.is_file() else HERE / "configs" / drives
    frames = sum(drive.count for split in load_splits(path).values() for drive in split)
    if len(expand(root / "camera/*/*/*.json")) >= frames:
        return
    command = [HERE / "render_drives.py", "--config", path, "--output", root]
    with stage(f"Rendering {frames} frames into {root}"):
        done = subprocess.run([sys.executable, *map(str, command)], check=False)
    if done.returncode:
        again = " ".join(["python", *map(str, command)])
        raise DataError(
            f"{root} lacks drives, and rendering them failed on this machine. Run this on a "
            f"machine with a working renderer: {again}. Then copy {root} to this machine."
        )


def evaluate(
    kind: str,
    members: list[Path],
    networks: dict[str, Path],
    splits: dict[str, Split],
    folder: Path,
) -> pd.DataFrame:
    """Score the single network, the teacher, the student and its control.

    Args:
        kind: Kind of the teacher, a name for `load_method`.
        members: Files of the teacher. Each network that was trained on its own is also a seed of
            the single network.
        networks: Weights of the others by kind.
        splits: Frames to score on, by name.
        folder: Output folder of tables and plots.

    Returns:
        The metrics of every method.
    """
    singles = single_networks(kind, members)
    candidates = [Candidate("single", "single", (path,), seed=k) for k, path in enumerate(singles)]
    candidates += [Candidate(kind, kind, tuple(members))]
    candidates += [Candidate(name, name, (path,)) for name, path in networks.items()]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return compare(candidates, splits, folder, device).table


def write_model(
    weights: Path, table: pd.DataFrame, note: str, config: StudentConfig, path: Path
) -> None:
    """Export the student with its metrics."""
    network, _ = load_model(weights)
    data = config.distillation.inputs(config.data)
    metrics = {
        f"{split}.{name}": value
        for split, name, value in zip(table.split, table.metric, table["mean"], strict=True)
        if name != "ms_per_image" and math.isfinite(value)
    }
    facts = model_facts(data, config.run, note, config.architecture.task)
    export(network, path, metrics=metrics, **facts)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Print the name of a stage, and its duration at the end."""
    first = is_first_process()
    begun = time.monotonic()
    if first:
        print(f"── {name}", flush=True)
    yield
    if first:
        print(f"── {name}: {time.monotonic() - begun:.0f} s", flush=True)


def main() -> int:
    arguments = sys.argv[1:]
    options = ("--config", "--help", "-h", "--print_config")
    if not any(argument.split("=")[0] in options for argument in arguments):
        arguments = ["--config", str(TINY), *arguments]
    return run_command("distill", lambda: distill(parse_config(DistillConfig, arguments, __doc__)))


if __name__ == "__main__":
    sys.exit(main())
