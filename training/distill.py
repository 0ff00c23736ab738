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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only

from emu_core.data.sample import DataError
from emu_core.drives.splits import load_splits
from emu_core.evaluation.candidate import Candidate
from emu_core.evaluation.comparison import compare
from emu_core.evaluation.splits import Split, open_split
from emu_core.evaluation.tables import Row, summary
from emu_core.methods.ensembles import load_method
from emu_core.networks import SegDepthFormer, load_model
from emu_core.training.command import call_from, run_command
from emu_core.training.distillation import (
    REST,
    Distillation,
    open_frames,
    train_control,
    train_student,
)
from emu_core.training.export import export
from emu_core.training.learner import Optimisation
from emu_core.training.objectives import StudentLoss
from emu_core.training.recipe import Architecture, Data
from emu_core.training.release import model_facts
from emu_core.training.run import WEIGHTS, Run, write_config
from emu_core.training.teacher import Teacher, obtain_teacher
from emu_core.training.teacher_cache import TeacherCache, fingerprint

HERE = Path(__file__).parent
TINY = HERE / "configs" / "distill_tiny.yaml"


def distill(
    data: Data = Data(),  # noqa: B008
    architecture: Architecture = Architecture(),  # noqa: B008
    teacher: Teacher = Teacher(),  # noqa: B008
    distillation: Distillation = Distillation(),  # noqa: B008
    loss: StudentLoss = StudentLoss(),  # noqa: B008
    optimisation: Optimisation = Optimisation(),  # noqa: B008
    run: Run = Run(name="distilled", seed=100),  # noqa: B008
    control: bool = False,
    render: Path | None = None,
) -> None:
    """Distil a teacher into one network.

    Args:
        data: data set and augmentation.
        architecture: the student, and what it starts from.
        teacher: where the teacher comes from.
        distillation: what the student and its teacher look at.
        loss: the student's; what it says of ground truth is the teacher's and the control's, too.
        optimisation: AdamW and its schedule, the student's and its teacher's.
        run: length, seed, precision, output of the student, and of the teacher but for its seed:
            the student's is no member's.
        control: also train the student's twin without a teacher: on the same inputs (but none
            without ground truth), from the same start, for as many steps.
        render: list of drives that are rendered into data.root as far as they are missing: a
            file, or its name beside the other configurations; null for none.
    """
    folder = Path("runs") / run.name
    if render is not None:
        render_drives(render, data.root)
    # What is missing is missed before hours of training.
    open_frames(data, architecture, loss, distillation), open_split(data, data.test_split)
    write_config(folder, {
        "data": asdict(data), "architecture": asdict(architecture), "teacher": asdict(teacher),
        "distillation": asdict(distillation), "loss": asdict(loss), "run": asdict(run),
        "optimisation": asdict(optimisation), "control": control,
    })  # fmt: skip
    with stage("Teacher"):
        kind, members = obtain_teacher(
            teacher, data, architecture, loss.supervised, optimisation, run, folder / "teacher",
            rest=distillation.fresh == REST,
        )  # fmt: skip
    given = (data, architecture, loss, optimisation, run)
    with stage("Student"):
        name = fingerprint(members)
        cache = None if distillation.cache is None else TeacherCache(distillation.cache, name)
        method = load_method(kind, members, in_memory=True)
        networks = {
            "student": train_student(*given, folder / "student", method, distillation, cache, name)
        }
        del method
    if control:
        with stage("Control"):
            networks["control"] = train_control(*given, folder / "control", distillation)
    if rank_zero_only.rank:
        return
    with stage("Evaluation"):
        split = open_split(data, data.test_split)
        rows = evaluate(kind, members, networks, split, folder / "evaluation")
        print(f"{split.name}, {len(split)} images; more in {folder}/evaluation/evaluation.md")
        print(summary(rows))
    with stage("Model file"):
        teachers = f"{len(members)} networks" if kind == "de" else "a sub-ensemble"
        write_model(networks["student"], rows["student"], f"distilled from {teachers}",
                    distillation.inputs(data), run,
                    folder / "student.onnx")  # fmt: skip


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
) -> Mapping[str, Row]:
    """Score the single network (each member a seed), their ensemble, the student, ….

    Args:
        kind, members: the teacher, as `load_method` takes it. Of a sub-ensemble the first network
            alone is a single one: the other heads sit on its trunk.
        networks: the others' weights by kind.
        split: what they are scored on.
        folder: that gets tables and plots.

    Returns:
        Their figures.
    """
    singles = members
    if kind == "dse":
        first = members[0].parent / "member-0" / WEIGHTS
        singles = [first] if first.is_file() else []
    candidates = [Candidate("single", "single", (path,), seed=k) for k, path in enumerate(singles)]
    candidates += [Candidate(kind, kind, tuple(members))]
    candidates += [Candidate(name, name, (path,)) for name, path in networks.items()]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return compare(candidates, {split.name: split}, folder, device).rows[split.name]


def write_model(weights: Path, figures: Row, note: str, data: Data, run: Run, path: Path) -> None:
    """Export the student, if it is one of both tasks, with its figures inside."""
    network, _ = load_model(weights)
    if not isinstance(network, SegDepthFormer):
        print(f"A model file holds classes and depth: none is made of a {type(network).__name__}.")
        return
    metrics = {
        f"{data.test_split}.{name}": value.mean
        for name, value in figures.items()
        if name != "ms_per_image"
    }
    export(network, path, metrics=metrics, **model_facts(data, run, note))


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
    return run_command("distill", lambda: call_from(arguments, distill, __doc__))


if __name__ == "__main__":
    sys.exit(main())
