"""The training commands read the configurations of training/configs."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from emu_core.training.command import parse_config

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
BASES = ("b0_drives", "cityscapes", "nyuv2")
STREETS, AROUND, MEMBERS, STUDENT, TRIAL = (
    f"mixtures/streets{name}" for name in ("", "_around", "_members", "_student", "_trial")
)


@pytest.fixture(scope="module")
def chosen(load_command):
    """Function that reads a command line as a command does, and returns its configuration."""
    kinds = {
        "train_teacher": load_command("train_teacher").TeacherConfig,
        "distill": load_command("distill").DistillConfig,
    }

    def read(command, *names, arguments=()):
        files = [part for name in names for part in ("--config", str(CONFIGS / f"{name}.yaml"))]
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


def test_every_configuration_has_a_name_and_whole_images_of_full_features(chosen):
    contents = {path.stem: yaml.safe_load(path.read_text()) for path in CONFIGS.glob("*.yaml")}
    mixtures = CONFIGS.glob("mixtures/*.yaml")
    contents |= {f"mixtures/{p.stem}": yaml.safe_load(p.read_text()) for p in mixtures}
    names = [n for n, content in contents.items() if "data" in content and "run" in content]
    # Those of a teacher alone are no students' configurations.
    names = [n for n in names if "study" not in n and "members" not in contents[n]]
    assert {*BASES, "distill_tiny"} <= set(names)
    for name in names:
        config = chosen("distill", name)
        assert config.run.name != "distilled"
        whole = config.data.whole_images
        assert whole.width % 32 == whole.height % 32 == 0


@pytest.mark.parametrize("base", [*BASES, "distill_tiny", None])
def test_a_student_has_another_seed_than_the_members(base, chosen):
    options = chosen("distill", *([] if base is None else [base]))
    first, members = options.teacher.seed, options.teacher.members
    assert options.run.seed not in range(first, first + members)


def test_the_tiny_configuration_trains_its_own_members_on_drives_that_it_renders(chosen):
    options = chosen("distill", "distill_tiny", arguments=("--run.steps", "3"))
    assert options.teacher.folder is None and options.teacher.members == 3
    assert (CONFIGS / options.render).is_file()
    assert options.run.steps == 3 and options.run.name == "distill_tiny"


@pytest.mark.parametrize(
    ("name", "first", "count", "network"),
    [(AROUND, "0", "1", 0), (AROUND, "1", "1", 1), (MEMBERS, "0", "3", 0), (MEMBERS, "3", "2", 1)],
)
def test_trainings_on_streets_continue_the_networks_before(name, first, count, network, chosen):
    files = [STREETS, AROUND, MEMBERS]
    files = files[: files.index(name) + 1]
    before = chosen("train_teacher", *files[:-1])
    init = Path("runs") / before.run.name / f"member-{network}/last.safetensors"
    options = ("--first", first, "--members", count, "--architecture.init", str(init))
    after = chosen("train_teacher", *files, arguments=options)
    assert after.architecture == replace(before.architecture, init=init)
    weight = 2.0 if name == AROUND else before.loss.relative_weight
    assert after.loss == replace(before.loss, relative_weight=weight)
    roots, earlier = ({source.root for source in run.data.mixture} for run in (after, before))
    assert roots - earlier == ({Path("data/drives_around")} if name == AROUND else set())
    if network == 0:  # the default
        assert chosen("train_teacher", *files).architecture == after.architecture


@pytest.mark.parametrize("change", ["rendered_only", "plain_look", "pixels"])
def test_a_trial_differs_from_the_recipe_in_one_thing(change, chosen):
    recipe = chosen("train_teacher", STREETS, AROUND, TRIAL)
    trial = chosen("train_teacher", STREETS, AROUND, TRIAL, f"mixtures/streets_{change}")
    assert (
        trial.architecture == recipe.architecture == chosen("train_teacher", STREETS).architecture
    )
    assert trial.optimisation == recipe.optimisation
    average = "pixels" if change == "pixels" else "frames"
    assert trial.loss == replace(recipe.loss, average=average)
    assert replace(trial.run, name="") == replace(recipe.run, name="")
    if change == "rendered_only":
        assert trial.data.mixture == recipe.data.mixture[:2]
        assert {source.kind for source in trial.data.mixture} == {"drives"}
    elif change == "pixels":
        assert trial.data == recipe.data
    else:
        assert trial.data.mixture == recipe.data.mixture
        assert trial.data.augmentation.jitter == recipe.data.augmentation.jitter
        assert not any(vars(trial.data.augmentation.appearance).values())


def test_the_student_of_streets_sees_what_its_members_saw_and_unlabelled_clips(chosen):
    members = chosen("train_teacher", STREETS, AROUND, MEMBERS)
    student = chosen("distill", STREETS, AROUND, STUDENT)
    assert student.teacher.folder == Path("runs") / members.run.name
    assert student.teacher.members == 5
    assert student.run.seed not in range(members.run.seed, members.run.seed + 5)
    labelled = tuple(source for source in student.data.mixture if not source.unlabelled)
    assert labelled == members.data.mixture and len(student.data.mixture) == len(labelled) + 1
    ours, theirs = ({**vars(config.data), "mixture": ()} for config in (student, members))
    assert ours == theirs
    assert student.loss.supervised == members.loss and student.loss.mean_weight > 0
    assert student.architecture.init == student.teacher.folder / "member-0" / "last.safetensors"
