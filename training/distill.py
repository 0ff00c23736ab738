r"""Distil an ensemble into one network: teacher, student, evaluation, model file.

    python training/distill.py                     # all of it on a few small drives: ten minutes
    python training/distill.py --config training/configs/b0_drives.yaml --run.name distilled \
        --teacher.folder runs/teacher              # of members that train_teacher.py has trained
    python training/distill.py --config training/configs/cityscapes.yaml --run.name emuformer_b2 \
        --architecture.variant b2 --teacher.members 10 --control true
    python training/distill.py --help

Without --config it takes training/configs/distill_tiny.yaml, and renders the drives that this
needs. Leaves in runs/NAME: teacher/member-K and student (and control: the student's twin without a
teacher), each as train_teacher.py says; evaluation: tables and plots of single network, ensemble
and student on frames that none has seen; student.onnx, which a robot runs. Given again, the
command goes on where it stopped and skips what is complete.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from lightning.pytorch.utilities import rank_zero_only

from emu_core.data.sample import DataError
from emu_core.drives.splits import load_splits
from emu_core.evaluation.candidate import Candidate
from emu_core.evaluation.report import compare
from emu_core.evaluation.splits import Split, open_split
from emu_core.evaluation.tables import summary
from emu_core.methods.registry import LoadOptions, load_method
from emu_core.networks import SegDepthFormer, load_model
from emu_core.training.command import parse_config, run_command
from emu_core.training.config import Run, StudentConfig
from emu_core.training.distillation import open_frames, train_control, train_student
from emu_core.training.export import export
from emu_core.training.release import model_facts
from emu_core.training.run import WEIGHTS, write_config
from emu_core.training.teacher import Teacher, obtain_teacher
from emu_core.training.teacher_cache import fingerprint

HERE = Path(__file__).parent
TINY = HERE / "configs" / "distill_tiny.yaml"


@dataclass(frozen=True)
class DistillConfig(StudentConfig):
    """A teacher, its student, their evaluation and the student's model file.

    Args:
        data: data set and augmentation.
        architecture: the student's network and the weights that it starts from.
        loss: of the student; its terms on ground truth are the teacher's and the control's, too.
        optimisation: AdamW and its schedule, of the student and of its teacher.
        run: length, seed, precision, output of the student, and of the teacher but for its seed:
            the student's seed must differ from those of the members.
        teacher: where the teacher comes from.
        control: also train the student's control without a teacher: the same labelled inputs,
            start and number of steps.
        render: list of drives that are rendered into data.root where they are missing: a file, or
            the name of one in training/configs; null for none.
    """

    run: Run = field(default_factory=lambda: Run(name="distilled", seed=100))
    teacher: Teacher = field(default_factory=Teacher)
    control: bool = False
    render: Path | None = None


def distill(config: DistillConfig) -> None:
    """Distil a teacher into one network."""
    data, folder = config.data, Path("runs") / config.run.name
    if config.render is not None:
        render_drives(config.render, data.root)
    # Missing data, and what makes a model file impossible, is reported before hours of training.
    open_frames(config), open_split(data, data.test_split)
    if config.architecture.task == "joint":
        model_facts(config.distillation.inputs(data), config.run)
    write_config(folder, config)
    student = StudentConfig.part_of(config)
    with stage("Teacher"):
        kind, members = obtain_teacher(config.teacher, student, folder / "teacher")
    with stage("Student"):
        method = load_method(kind, members, LoadOptions(in_memory=True))
        networks = {
            "student": train_student(student, folder / "student", method, fingerprint(members))
        }
        del method
    if config.control:
        with stage("Control"):
            networks["control"] = train_control(student, folder / "control")
    if rank_zero_only.rank:
        return
    with stage("Evaluation"):
        split = open_split(data, data.test_split)
        table = evaluate(kind, members, networks, split, folder / "evaluation")
        print(f"{split.name}, {len(split)} images; more in {folder}/evaluation/evaluation.md")
        print(summary(table))
    with stage("Model file"):
        teachers = f"{len(members)} networks" if kind == "de" else "a sub-ensemble"
        write_model(
            networks["student"],
            table[table.method == "student"],
            f"distilled from {teachers}",
            student,
            folder / "student.onnx",
        )


def render_drives(drives: Path, root: Path) -> None:
    """Render a list of drives, unless all frames are there.

    Raises:
        DataError: rendering is not possible here; its own command has said why.
    """
    path = drives if drives.is_file() else HERE / "configs" / drives
    frames = sum(drive.count for split in load_splits(path).values() for drive in split)
    if len(list(root.glob("camera/*/*/*.json"))) >= frames:
        return
    command = [HERE / "render_drives.py", "--config", path, "--output", root]
    with stage(f"Rendering {frames} frames into {root}"):
        done = subprocess.run([sys.executable, *map(str, command)], check=False)
    if done.returncode:
        again = " ".join(["python", *map(str, command)])
        raise DataError(
            f"{root} lacks drives, and they could not be rendered here. Where rendering works, "
            f"this makes them: {again}. Then copy {root} here."
        )


def evaluate(
    kind: str, members: list[Path], networks: dict[str, Path], split: Split, folder: Path
) -> pd.DataFrame:
    """Score the single network (each member a seed), their ensemble, the student, ….

    Args:
        kind, members: the teacher, as `load_method` takes it. Of a sub-ensemble the first network
            alone is a single one: the other heads sit on its trunk.
        networks: the others' weights by kind.
        split: what they are scored on.
        folder: that gets tables and plots.

    Returns:
        Their metrics.
    """
    singles = members
    if kind == "dse":
        first = members[0].parent / "member-0" / WEIGHTS
        singles = [first] if first.is_file() else []
    candidates = [Candidate("single", "single", (path,), seed=k) for k, path in enumerate(singles)]
    candidates += [Candidate(kind, kind, tuple(members))]
    candidates += [Candidate(name, name, (path,)) for name, path in networks.items()]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return compare(candidates, {split.name: split}, folder, device).of(split.name)


def write_model(
    weights: Path, table: pd.DataFrame, note: str, config: StudentConfig, path: Path
) -> None:
    """Export the student, if it is one of both tasks, with its metrics inside."""
    network, _ = load_model(weights)
    if not isinstance(network, SegDepthFormer):
        print(f"A model file holds classes and depth: none is made of a {type(network).__name__}.")
        return
    data = config.distillation.inputs(config.data)
    metrics = {
        f"{data.test_split}.{name}": value
        for name, value in zip(table.metric, table["mean"], strict=True)
        if name != "ms_per_image"
    }
    export(network, path, metrics=metrics, **model_facts(data, config.run, note))


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Say what is going on, and how long it took."""
    first = rank_zero_only.rank == 0
    begun = time.monotonic()
    if first:
        print(f"── {name}", flush=True)
    yield
    if first:
        print(f"── {name}: {time.monotonic() - begun:.0f} s", flush=True)


def main() -> int:
    """Command line."""
    arguments = sys.argv[1:]
    asks = ("--config", "--help", "-h", "--print_config")
    if not any(argument.split("=")[0] in asks for argument in arguments):
        arguments = ["--config", str(TINY), *arguments]
    return run_command("distill", lambda: distill(parse_config(DistillConfig, arguments, __doc__)))


if __name__ == "__main__":
    sys.exit(main())
