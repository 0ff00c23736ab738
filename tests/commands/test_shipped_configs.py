"""The configurations of the shipped student and of its teacher's members."""

from dataclasses import replace
from pathlib import Path

from emu_core.training.command import parse_config

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
FIRST = Path("runs/first_student.onnx")


def read(kind, *names):
    files = [part for name in names for part in ("--config", str(CONFIGS / name))]
    return parse_config(kind, files, "")


def test_the_shipped_members_and_student_start_from_the_first_student(load_command):
    teacher_config = load_command("train_teacher").TeacherConfig
    first = read(teacher_config, "b0_drives.yaml")
    members = read(teacher_config, "b0_drives.yaml", "shipped_members.yaml")
    assert (members.data, members.loss) == (first.data, first.loss)
    assert members.loss.class_balance == 0.25
    assert (members.data.augmentation.height, members.data.augmentation.width) == (384, 768)
    assert members.architecture == replace(first.architecture, init=FIRST)
    student_config = load_command("distill").DistillConfig
    student = read(student_config, "b0_drives.yaml", "shipped_student.yaml")
    assert (student.data, student.architecture) == (members.data, members.architecture)
    assert student.teacher.folder == Path("runs") / members.run.name
    assert student.teacher.members == members.members == 5
    assert student.loss.class_balance == members.loss.class_balance
    assert student.distillation.jitter == (0.2, 0.2, 0.2, 0.4)
    seeds = range(members.run.seed, members.run.seed + members.members)
    assert student.run.seed not in seeds
