"""What teacher, student and control see, start from and are refused."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from emu_core.data.augment import Augmentation
from emu_core.data.sample import Sample, unlabelled
from emu_core.labels import CITYSCAPES
from emu_core.methods.deep_ensemble import DeepEnsemble
from emu_core.methods.single import SingleNetwork
from emu_core.networks import SegDepthFormer, normalize, save_model
from emu_core.training import distillation, teacher
from emu_core.training.config import (
    Architecture,
    Data,
    Distillation,
    Run,
    StudentConfig,
)
from emu_core.training.distillation import train_control, train_student
from emu_core.training.learner import Student
from emu_core.training.loader import validation_loader
from emu_core.training.objectives import MemberLoss, StudentLoss, student_loss
from emu_core.training.run import write_config
from emu_core.training.teacher import Teacher, find_teacher, obtain_teacher

AUGMENTATION = Augmentation(32, 64, flip=True, jitter=(0.1, 0.1, 0.1, 0.1))
RUN = Run(steps=3, seed=5, threads=1)
SKY, DATA_SET = CITYSCAPES.sky, SimpleNamespace(classes=CITYSCAPES, max_depth=80.0)
LOSS = StudentLoss(depth="gnll", beta=0.5, depth_weight=2.0)


@pytest.fixture
def config(tmp_path, write_noise):
    """A student's configuration, with six training frames of three drives."""
    frames = [("train", f"drive{k % 3}_000000_{k:06d}") for k in range(6)]
    write_noise(tmp_path / "data", frames, (32, 64), 60.0, (100, 1000))
    data = Data(root=tmp_path / "data", augmentation=AUGMENTATION, batch=2, workers=0)
    return StudentConfig(data, loss=LOSS, run=RUN)


def changed(config, **sections):
    """The configuration with some fields of its sections changed."""
    return replace(
        config,
        **{name: replace(getattr(config, name), **others) for name, others in sections.items()},
    )


@pytest.fixture
def fitted(monkeypatch):
    """What would have been trained, on what, instead of training it."""
    calls = []

    def remember(learner, loader, folder):
        calls.append((learner, list(loader)))
        return folder

    for module in (distillation, teacher):
        monkeypatch.setattr(module, "fit", remember)
    return calls


def network(seed):
    torch.manual_seed(seed)
    return SegDepthFormer("b0")


def distil(config, folder, teacher_id="it"):
    return train_student(config, folder, SingleNetwork(network(9)), teacher_id)


def test_the_student_learns_from_the_teachers_answer_to_its_own_inputs():
    frames = [
        Sample(
            str(k),
            np.random.default_rng(k).integers(0, 256, (32, 64, 3), np.uint8),
            np.full((32, 64), k, np.uint8),
            np.full((32, 64), 10.0 + k, np.float32),
            (60.0, 60.0),
        )
        for k in range(2)
    ]
    smaller = unlabelled("smaller", frames[0].image[23::-1].copy(), (60.0, 60.0))
    (batch,) = validation_loader([*frames, smaller], Augmentation(32, 64), 3)
    teacher, seen = DeepEnsemble([network(1), network(2)]), []

    def watched(images):
        seen.append(images)
        return teacher(images)

    loss = replace(LOSS, mean_weight=0.5, variance_pixels="not_sky")
    student = Student(network(0), StudentConfig(loss=loss), DATA_SET, watched)
    raw = student.model.eval()(normalize(batch["image"]))
    terms = student.terms(raw, batch)
    assert len(seen) == 1 and seen[0] is batch["image"]
    inside = torch.ones(3, 32, 64, dtype=torch.bool)
    inside[2, 24:] = False  # the last image is smaller
    given = {"labelled": torch.tensor([True, True, False]), "inside": inside}
    expected = student_loss(
        raw, teacher(batch["image"]), batch["labels"], batch["depth"], loss, sky=SKY, **given
    )
    assert set(terms) == {"ce", "depth", "kl", "variance", "mean"}
    torch.testing.assert_close(terms, expected)


def test_the_teacher_is_neither_trained_nor_saved_nor_copied():
    teacher = SingleNetwork(network(1).train())
    student = Student(network(0), StudentConfig(loss=LOSS), DATA_SET, teacher)
    student.train()
    assert not teacher.networks[0].training
    assert len(list(student.parameters())) == len(list(student.model.parameters()))
    assert all(name.startswith("model.") for name in student.state_dict())
    copied = copy.deepcopy(student)  # as averaging of weights does
    assert copied.teacher() is student.teacher() is teacher
    prediction = student.teacher()(torch.zeros(1, 3, 32, 64, dtype=torch.uint8))
    assert not prediction.probabilities.requires_grad
    student.to("meta").on_fit_start()
    assert next(teacher.networks[0].parameters()).is_meta


def test_the_control_has_the_students_inputs_start_and_steps(config, fitted, tmp_path):
    torch.manual_seed(3)
    save_model(network(4), tmp_path / "init.safetensors")
    config = changed(
        config,
        architecture={"init": tmp_path / "init.safetensors"},
        distillation={"variants": 2},
        loss={"class_balance": 0.25},
    )
    distil(config, tmp_path / "student")
    train_control(config, tmp_path / "control")
    (student, seen), (control, shown) = fitted
    assert len(seen) == len(shown) == 3
    for ours, theirs in zip(seen, shown, strict=True):
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0, equal_nan=True)
    for name, value in student.model.state_dict().items():
        assert torch.equal(value, control.model.state_dict()[name])
    assert control.config.loss == MemberLoss(
        depth="gnll", beta=0.5, depth_weight=2.0, class_balance=0.25
    )
    assert torch.equal(student.class_weights, control.class_weights)
    assert len(control.class_weights.unique()) > 3  # three classes occur, and most do not
    assert student.config.run == control.config.run == config.run


def test_the_student_sees_stronger_jitter_than_the_members(config, fitted, tmp_path):
    distil(config, tmp_path / "student")
    student, batches = fitted[0]
    assert student.config == config  # with the members' jitter, for the next one
    assert config.distillation.inputs(config.data).augmentation == replace(
        AUGMENTATION, jitter=(0.2, 0.2, 0.2, 0.4)
    )
    keys = torch.cat([batch["key"] for batch in batches])
    assert sorted(keys[:, 1].tolist()) == list(range(6))  # three steps of two: one epoch


def test_unlabelled_frames_are_those_that_the_members_left_out(config, fitted, tmp_path):
    config = changed(
        config,
        data={"sequences": 1},
        distillation={"unlabelled": "rest"},
        loss={"mean_weight": 1.0},
    )
    distil(config, tmp_path / "student")
    _, batches = fitted[0]
    labelled = torch.cat([batch["labelled"] for batch in batches])
    keys = torch.cat([batch["key"] for batch in batches])
    assert sorted(keys[~labelled, 1].tolist()) == [2, 3, 4, 5]  # behind the two of one drive
    images = torch.cat([batch["labels"] for batch in batches])
    assert (images[~labelled] == 255).all() and (images[labelled] != 255).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unlabelled": "rest"}, "neither data.limit nor data.sequences leaves frames out"),
        ({"unlabelled": "train_extra"}, "No folder .*train_extra"),
        (
            {"unlabelled": "train", "unlabelled_limit": 2},
            "adds 2 frames without ground truth.*mean_weight",
        ),
    ],
)
def test_unlabelled_frames_that_are_missing_or_train_nothing_are_refused(
    options, message, config, fitted, tmp_path
):
    with pytest.raises(ValueError, match=message):
        distil(changed(config, distillation=options), tmp_path / "student")
    assert not fitted


def test_a_student_keeps_its_teacher(config, fitted, tmp_path):
    distil(config, tmp_path / "student")
    distil(config, tmp_path / "student")
    with pytest.raises(ValueError, match="holds a student of another teacher"):
        distil(config, tmp_path / "student", "another")
    assert len(fitted) == 2


def test_a_cache_that_would_never_be_read_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"needs distillation\.variants"):
        Distillation(cache=tmp_path)


def test_members_are_found_in_their_order(tmp_path):
    for k in (10, 2, 0, 1):
        folder = tmp_path / f"member-{k}"
        folder.mkdir()
        (folder / "last.safetensors").touch()
    (tmp_path / "member-3").mkdir()  # not finished
    kind, paths = find_teacher(tmp_path)
    assert kind == "de"
    assert [path.parent.name for path in paths] == [f"member-{k}" for k in (0, 1, 2, 10)]
    (tmp_path / "sub_ensemble.safetensors").touch()
    assert find_teacher(tmp_path) == ("dse", [tmp_path / "sub_ensemble.safetensors"])
    with pytest.raises(ValueError, match=r"train a teacher with training/train_teacher\.py"):
        find_teacher(tmp_path / "member-3")


def test_a_teacher_has_its_own_seed_steps_and_backbone(config, fitted, tmp_path):
    options = Teacher(members=2, steps=1, seed=7, architecture=Architecture("b1"))
    kind, paths = obtain_teacher(options, config, tmp_path)
    assert kind == "de" and len(paths) == 2
    assert [learner.config.run.seed for learner, _ in fitted] == [7, 8]
    assert {learner.model.variant for learner, *_ in fitted} == {"b1"}
    assert [len(batches) for _, batches in fitted] == [1, 1]
    first, second = (learner.model.state_dict() for learner, *_ in fitted)
    name = "segmentation_decoder.head.weight"
    assert not torch.equal(first[name], second[name])


def test_members_learn_from_ground_truth_as_their_student_does(config, fitted, tmp_path):
    config = changed(config, loss={"class_balance": 0.25})
    obtain_teacher(Teacher(members=1), config, tmp_path / "alike")
    obtain_teacher(Teacher(members=1, loss=MemberLoss(depth="l1")), config, tmp_path / "other")
    first, second = (learner.config.loss for learner, _ in fitted)
    assert first == MemberLoss(depth="gnll", beta=0.5, depth_weight=2.0, class_balance=0.25)
    assert second == MemberLoss(depth="l1")


def test_members_do_not_start_from_what_their_student_starts_from(config, fitted, tmp_path):
    init = tmp_path / "runs/teacher/member-0/last.safetensors"
    obtain_teacher(Teacher(members=1), changed(config, architecture={"init": init}), tmp_path)
    assert fitted[0][0].config.architecture.init is None


def finished(folder, data, k=0, **others):
    """A member's folder as a training leaves it, but for the weights' contents."""
    member = folder / f"member-{k}"
    member.mkdir(parents=True)
    (member / "last.safetensors").touch()
    shown = {"kind": data.kind, "root": str(data.root), "limit": data.limit,
             "sequences": data.sequences, "augmentation": {"width": 64}}  # fmt: skip
    config = {"data": shown | others, "run": {"seed": k}}
    (member / "config.yaml").write_text(yaml.safe_dump(config))
    return member


def take(folder, config, members=2):
    return obtain_teacher(Teacher(folder=folder, members=members), config, folder)


def test_a_teacher_of_other_metres_is_refused(config, tmp_path):
    finished(tmp_path, config.data, augmentation={"width": 64, "canonical_focal": 50.0})
    with pytest.raises(ValueError, match=r"canonical_focal 50\.0, but here it is None"):
        take(tmp_path, config)


def test_a_student_with_a_members_seed_is_refused(config, fitted, tmp_path):
    """It would begin with that member's weights, and meet its crops in its order."""
    with pytest.raises(ValueError, match="seed 5 is that of the teacher's member-1"):
        obtain_teacher(Teacher(members=2, seed=4), config, tmp_path)
    assert not fitted
    for k in range(2):
        finished(tmp_path / "teacher", config.data, k)
    for seed in range(2):
        message = f"seed {seed} is that of the teacher's .*member-{seed}: .*--run.seed 100"
        with pytest.raises(ValueError, match=message):
            take(tmp_path / "teacher", changed(config, run={"seed": seed}))
    _, paths = take(tmp_path / "teacher", changed(config, run={"seed": 1}), members=1)
    assert len(paths) == 1  # the second member does not teach


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"limit": 4}, "with data.limit 4, and here it is None"),
        ({"sequences": 3}, "with data.sequences 3, and here it is 1"),
        ({"kind": "cityscapes"}, "with data.kind cityscapes, and here it is drives"),
        ({"root": "elsewhere"}, "with data.root elsewhere, and here it is .*data"),
    ],
)
def test_unlabelled_frames_that_a_member_may_have_seen_are_refused(
    others, message, config, tmp_path
):
    config = changed(config, data={"sequences": 1})
    rest = changed(config, distillation={"unlabelled": "rest"})
    finished(tmp_path / "same", config.data)
    finished(tmp_path / "same", config.data, 1)
    assert len(take(tmp_path / "same", rest)[1]) == 2
    finished(tmp_path / "other", config.data)
    finished(tmp_path / "other", config.data, 1, **others)
    with pytest.raises(ValueError, match=f"member-1 was trained {message}"):
        take(tmp_path / "other", rest)
    assert len(take(tmp_path / "other", config)[1]) == 2  # without unlabelled frames


def test_fewer_members_than_requested_are_reported_and_unfinished_ones_refused(
    config, tmp_path, capsys
):
    for k in range(3):
        finished(tmp_path, config.data, k)
    assert len(take(tmp_path, config, members=2)[1]) == 2
    assert capsys.readouterr().out == f"2 members in {tmp_path}\n"
    assert len(take(tmp_path, config, members=10)[1]) == 3
    assert "3 members in" in (out := capsys.readouterr().out) and "10 were requested" in out
    (tmp_path / "member-1" / "last.safetensors").unlink()
    with pytest.raises(ValueError, match=r"member-1 is not finished: .*--teacher\.members"):
        take(tmp_path, config, members=3)
    assert len(take(tmp_path, config, members=1)[1]) == 1


def test_a_damaged_configuration_of_a_member_ends_in_a_message(config, tmp_path):
    (finished(tmp_path, config.data) / "config.yaml").write_text("")
    with pytest.raises(ValueError, match=r"member-0/config\.yaml is not the configuration"):
        take(tmp_path, config)


def test_a_student_goes_on_with_another_cache(config, fitted, tmp_path):
    folder = tmp_path / "student"
    first = changed(config, distillation={"variants": 2, "cache": tmp_path / "first"})
    distil(first, folder)
    write_config(folder, first)
    (folder / "last.ckpt").touch()
    distil(changed(first, distillation={"cache": tmp_path / "second"}), folder)
    with pytest.raises(ValueError, match=r"distillation\.variants was 2, now 3"):
        distil(changed(first, distillation={"variants": 3}), folder)
