"""The training commands read the configurations that the README names."""

from pathlib import Path

import pytest

from emu_core.training.command import parse_config

FOLDER = Path(__file__).parents[2] / "training"
BASES = ("b0_drives", "cityscapes", "nyuv2")


@pytest.fixture(scope="module")
def chosen(load_command):
    """Function that reads a command line as a command does, and returns its configuration."""
    kinds = {
        "train_teacher": load_command("train_teacher").TeacherConfig,
        "distill": load_command("distill").DistillConfig,
    }

    def read(command, *configs, arguments=()):
        files = [p for name in configs for p in ("--config", str(FOLDER / f"configs/{name}.yaml"))]
        return parse_config(kinds[command], [*files, *arguments], "")

    return read


@pytest.mark.parametrize("base", BASES)
def test_both_commands_read_a_configuration_alike(base, chosen):
    member, student = chosen("train_teacher", base), chosen("distill", base)
    for section in ("data", "architecture", "optimisation"):
        assert getattr(member, section) == getattr(student, section), section
    assert member.data.kind == ("drives" if base == "b0_drives" else base)
    assert member.loss == student.loss.supervised and student.teacher.loss is None
    assert member.run.steps == student.run.steps > 1000
    scratch = chosen("distill", base, "from_scratch")
    assert scratch.architecture.encoder is None
    assert scratch.optimisation.learning_rate == 1e-3
    assert scratch.data == student.data


@pytest.mark.parametrize("base", [*BASES, "distill_tiny", None])
def test_a_student_has_another_seed_than_the_members(base, chosen):
    options = chosen("distill", *([] if base is None else [base]))
    first, members = options.teacher.seed, options.teacher.members
    assert options.run.seed not in range(first, first + members)


def test_the_tiny_configuration_trains_its_own_members_on_drives_that_it_renders(chosen):
    options = chosen("distill", "distill_tiny", arguments=("--run.steps", "3"))
    assert options.teacher.folder is None and options.teacher.members == 3
    assert (FOLDER / "configs" / options.render).is_file()
    assert options.run.steps == 3 and options.run.name == "distill_tiny"
