"""The configurations of the shipped student and of its teacher, as their commands read them."""

import importlib.util
import inspect
from dataclasses import replace
from pathlib import Path

import pytest

from emu_core.training.command import call_from

TRAINING = Path(__file__).parents[2] / "training"
FIRST = Path("runs/first_student.onnx")


@pytest.fixture
def read():
    """Function that gives what a command's function gets from these configurations."""

    def options(command, function, *configs):
        spec = importlib.util.spec_from_file_location(
            f"shipped_{command}", TRAINING / f"{command}.py"
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        got = {}
        asked = getattr(module, function)

        def remember(**given):
            got.update(given)

        remember.__signature__ = inspect.signature(asked, eval_str=True)
        arguments = [part for c in configs for part in ("--config", str(TRAINING / "configs" / c))]
        call_from(arguments, remember, "")
        return got

    return options


def test_members_start_from_the_first_student_and_learn_on_its_data(read):
    first = read("train_teacher", "train", "b0_drives.yaml")
    members = read("train_teacher", "train", "b0_drives.yaml", "shipped_members.yaml")
    assert members["data"] == first["data"]
    assert members["loss"] == first["loss"]
    assert members["loss"].class_balance == 0.25
    assert (members["data"].augmentation.height, members["data"].augmentation.width) == (384, 768)
    assert members["architecture"] == replace(first["architecture"], init=FIRST)
    assert members["members"] == 5


def test_the_student_learns_from_these_members_and_starts_from_the_first_student(read):
    members = read("train_teacher", "train", "b0_drives.yaml", "shipped_members.yaml")
    student = read("distill", "distill", "b0_drives.yaml", "shipped_student.yaml")
    assert student["data"] == members["data"]
    assert student["teacher"].folder == Path("runs") / members["run"].name
    assert student["teacher"].members == members["members"]
    assert student["architecture"] == members["architecture"]
    assert student["loss"].class_balance == members["loss"].class_balance
    assert student["distillation"].jitter == (0.2, 0.2, 0.2, 0.4)
    seeds = range(members["run"].seed, members["run"].seed + members["members"])
    assert student["run"].seed not in seeds
