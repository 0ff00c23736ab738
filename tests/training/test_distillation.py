"""What teacher, student and control see and start from, and what is refused."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from emu_core.data.augment import Augmentation
from emu_core.data.label_space import LabelSpace
from emu_core.data.mixture import Mixture
from emu_core.data.sample import Sample, partial_sample
from emu_core.labels import CITYSCAPES
from emu_core.methods.deep_ensemble import DeepEnsemble
from emu_core.methods.single import SingleNetwork
from emu_core.networks import SegDepthFormer, normalize, save_model
from emu_core.training import distillation, teacher
from emu_core.training.config import Architecture, Data, Distillation, Run, StudentConfig
from emu_core.training.distillation import train_control, train_student
from emu_core.training.learner import Student
from emu_core.training.loader import validation_loader
from emu_core.training.objectives import MemberLoss, StudentLoss, student_loss
from emu_core.training.run import write_config
from emu_core.training.teacher import Teacher, find_teacher, obtain_teacher, single_networks

AUGMENTATION = Augmentation(32, 64, flip=True, jitter=(0.1, 0.1, 0.1, 0.1))


class Frames(list):
    """A data set without frames."""

    space, max_depth = LabelSpace.identity(CITYSCAPES), 80.0


MIXTURE = Mixture([Frames()])
LOSS = StudentLoss(depth="gnll", beta=0.5, depth_weight=2.0)
SUPERVISED = MemberLoss(depth="gnll", beta=0.5, depth_weight=2.0)


@pytest.fixture
def config(tmp_path, write_noise):
    """A student's configuration, with six training frames of three drives."""
    frames = [("train", f"drive{k % 3}_000000_{k:06d}") for k in range(6)]
    write_noise(tmp_path / "data", frames, (32, 64), 60.0, (100, 1000))
    data = Data(root=tmp_path / "data", augmentation=AUGMENTATION, batch=2, workers=0)
    return StudentConfig(data, loss=LOSS, run=Run(steps=3, seed=5, threads=1))


def changed(config, **sections):
    """The configuration with some fields of its sections changed."""
    return replace(
        config,
        **{name: replace(getattr(config, name), **others) for name, others in sections.items()},
    )


@pytest.fixture
def fitted(monkeypatch):
    """Learners and batches of trainings, which are not carried out."""
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


def joined(batches, name):
    return torch.cat([batch[name] for batch in batches])


def test_the_student_learns_from_the_teachers_prediction_of_its_own_inputs():
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 64, 3), np.uint8)
    frames = [
        Sample("", image, np.full((32, 64), k, np.uint8), np.float32(10 + k) * one, (60.0, 60.0))
        for k, (image, one) in enumerate(zip(images[:2], np.ones((2, 32, 64)), strict=True))
    ]
    smaller = partial_sample("smaller", images[2, :24].copy(), (60.0, 60.0))
    (batch,) = validation_loader([*frames, smaller], Augmentation(32, 64), 3)
    ensemble, seen = DeepEnsemble([network(1), network(2)]), []

    def watched(images):
        seen.append(images)
        return ensemble(images)

    loss = replace(LOSS, mean_weight=0.5, variance_pixels="not_sky")
    student = Student(network(0), StudentConfig(loss=loss), MIXTURE, watched)
    raw = student.model.eval()(normalize(batch["image"]))
    terms = student.terms(raw, batch)
    assert len(seen) == 1 and seen[0] is batch["image"]
    inside = torch.ones(3, 32, 64, dtype=torch.bool)
    inside[2, 24:] = False  # padding of the smaller image
    known = torch.tensor([True, True, False])
    truth = batch | {"labelled": known, "measured": known, "inside": inside}
    expected = student_loss(raw, ensemble(batch["image"]), truth, loss, CITYSCAPES.sky)
    assert set(terms) == {"ce", "depth", "kl", "variance", "mean"}
    torch.testing.assert_close(terms, expected)


def test_the_teacher_is_neither_trained_nor_saved_nor_copied():
    single = SingleNetwork(network(1).train())
    student = Student(network(0), StudentConfig(loss=LOSS), MIXTURE, single).train()
    assert not single.networks[0].training
    assert len(list(student.parameters())) == len(list(student.model.parameters()))
    assert all(name.startswith("model.") for name in student.state_dict())
    copied = copy.deepcopy(student)  # as averaging of weights does
    assert copied.teacher() is student.teacher() is single
    prediction = student.teacher()(torch.zeros(1, 3, 32, 64, dtype=torch.uint8))
    assert not prediction.probabilities.requires_grad
    student.to("meta").on_fit_start()
    assert next(single.networks[0].parameters()).is_meta


def test_the_control_has_the_students_inputs_start_and_steps(config, fitted, tmp_path):
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
    assert len(seen) == 3
    torch.testing.assert_close(seen, shown, rtol=0, atol=0, equal_nan=True)
    weights = control.model.state_dict()
    torch.testing.assert_close(student.model.state_dict(), weights, rtol=0, atol=0)
    assert control.config.loss == replace(SUPERVISED, class_balance=0.25)
    assert torch.equal(student.class_weights, control.class_weights)
    assert len(control.class_weights.unique()) == 3  # classes occur; others are as the rarest
    assert student.config.run == control.config.run == config.run


def test_the_student_sees_stronger_jitter_than_the_members(config, fitted, tmp_path):
    distil(config, tmp_path / "student")
    student, batches = fitted[0]
    assert student.config == config  # with the members' jitter, for the next student
    inputs = config.distillation.inputs(config.data).augmentation
    assert inputs == replace(AUGMENTATION, jitter=(0.2, 0.2, 0.2, 0.4))
    assert sorted(joined(batches, "key")[:, 1].tolist()) == list(range(6))  # one epoch


def test_unlabelled_frames_are_those_that_the_members_left_out(config, fitted, tmp_path):
    unlabelled = {"unlabelled": "rest"}
    sections = {"data": {"sequences": 1}, "loss": {"mean_weight": 1.0}}
    distil(changed(config, distillation=unlabelled, **sections), tmp_path / "student")
    _, batches = fitted[0]
    labelled, labels = joined(batches, "labelled"), joined(batches, "labels")
    keys = joined(batches, "key")[~labelled, 1]
    assert sorted(keys.tolist()) == [2, 3, 4, 5]  # after the two frames of one drive
    assert (labels[~labelled] == 255).all() and (labels[labelled] != 255).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unlabelled": "rest"}, "neither data.limit nor data.sequences leaves frames out"),
        ({"unlabelled": "train_extra"}, "No folder .*train_extra"),
        (
            {"unlabelled": "train", "unlabelled_limit": 2},
            "2 frames have no ground truth.*mean_weight",
        ),
    ],
)
def test_unlabelled_frames_that_are_missing_or_train_nothing_are_refused(
    options, message, config, fitted, tmp_path
):
    with pytest.raises(ValueError, match=message):
        distil(changed(config, distillation=options), tmp_path / "student")
    assert not fitted


def test_a_student_keeps_its_teacher_but_not_its_cache(config, fitted, tmp_path):
    folder = tmp_path / "student"
    first = changed(config, distillation={"variants": 2, "cache": tmp_path / "first"})
    distil(first, folder)
    write_config(folder, first)
    torch.save({"global_step": 1, "state_dict": {}}, folder / "last.ckpt")
    distil(changed(first, distillation={"cache": tmp_path / "second"}), folder)
    assert len(fitted) == 2
    with pytest.raises(ValueError, match=r"distillation\.variants was 2, now 3"):
        distil(changed(first, distillation={"variants": 3}), folder)
    with pytest.raises(ValueError, match="holds a student of another teacher"):
        distil(first, folder, "another")
    with pytest.raises(ValueError, match=r"needs distillation\.variants"):
        Distillation(cache=tmp_path)


# Teachers


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


def test_the_single_network_of_a_sub_ensemble_is_its_first_one(tmp_path):
    heads = [tmp_path / f"member-{k}" / "last.safetensors" for k in range(2)]
    for path in heads:
        path.parent.mkdir()
        path.touch()
    assert single_networks("dse", [tmp_path / "sub_ensemble.safetensors"]) == heads[:1]


def test_a_teacher_has_its_own_seed_steps_backbone_and_loss(config, fitted, tmp_path):
    own = {"architecture": Architecture("b1"), "loss": MemberLoss(depth="l1")}
    kind, paths = obtain_teacher(Teacher(members=2, steps=1, seed=7, **own), config, tmp_path)
    assert kind == "de" and len(paths) == 2
    assert [learner.config.run.seed for learner, _ in fitted] == [7, 8]
    assert {learner.model.variant for learner, _ in fitted} == {"b1"}
    assert {learner.config.loss for learner, _ in fitted} == {MemberLoss(depth="l1")}
    assert [len(batches) for _, batches in fitted] == [1, 1]
    first, second = (learner.model.state_dict() for learner, _ in fitted)
    name = "segmentation_decoder.head.weight"
    assert not torch.equal(first[name], second[name])
    with pytest.raises(ValueError, match="a kind of teacher of sub_ensemble, ensemble, but got"):
        Teacher(method="swag")


def test_by_default_members_have_the_students_loss_but_not_its_init(config, fitted, tmp_path):
    init = tmp_path / "runs/teacher/member-0/last.safetensors"
    config = changed(config, architecture={"init": init}, loss={"class_balance": 0.25})
    obtain_teacher(Teacher(members=1), config, tmp_path)
    member = fitted[0][0].config
    assert member.loss == replace(SUPERVISED, class_balance=0.25)
    assert member.architecture.init is None


def finished(folder, data, k=0, **others):
    """A member's folder as a training leaves it, except for the contents of the weights."""
    member = folder / f"member-{k}"
    member.mkdir(parents=True)
    (member / "last.safetensors").touch()
    shown = {name: getattr(data, name) for name in ("kind", "limit", "sequences")}
    shown |= {"root": str(data.root), "augmentation": {"width": 64}} | others
    (member / "config.yaml").write_text(yaml.safe_dump({"data": shown, "run": {"seed": k}}))
    return member


def take(folder, config, members=2):
    return obtain_teacher(Teacher(folder=folder, members=members), config, folder)[1]


def test_a_teacher_with_another_scale_of_depth_is_refused(config, tmp_path):
    finished(tmp_path, config.data, augmentation={"width": 64, "canonical_focal": 50.0})
    with pytest.raises(ValueError, match=r"canonical_focal 50\.0, but here it is None"):
        take(tmp_path, config)


def test_a_student_with_a_members_seed_is_refused(config, fitted, tmp_path):
    """It would start with that member's weights, and see its crops in its order."""
    with pytest.raises(ValueError, match="seed 5 is that of the teacher's member-1"):
        obtain_teacher(Teacher(members=2, seed=4), config, tmp_path)
    assert not fitted
    for k in range(2):
        finished(tmp_path / "teacher", config.data, k)
    for seed in range(2):
        message = f"seed {seed} is that of the teacher's .*member-{seed}: .*--run.seed 100"
        with pytest.raises(ValueError, match=message):
            take(tmp_path / "teacher", changed(config, run={"seed": seed}))
    one = take(tmp_path / "teacher", changed(config, run={"seed": 1}), members=1)
    assert len(one) == 1  # without the second member


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"limit": 4}, "with data.limit 4, but here it is None"),
        ({"sequences": 3}, "with data.sequences 3, but here it is 1"),
        ({"kind": "cityscapes"}, "with data.kind cityscapes, but here it is drives"),
        ({"root": "elsewhere"}, "with data.root elsewhere, but here it is .*data"),
    ],
)
def test_unlabelled_frames_that_a_member_may_have_seen_are_refused(
    others, message, config, tmp_path
):
    config = changed(config, data={"sequences": 1})
    rest = changed(config, distillation={"unlabelled": "rest"})
    finished(tmp_path, config.data)
    finished(tmp_path, config.data, 1, **others)
    assert len(take(tmp_path, rest, members=1)) == 1
    with pytest.raises(ValueError, match=f"member-1 was trained {message}"):
        take(tmp_path, rest)
    assert len(take(tmp_path, config)) == 2  # without unlabelled frames


def test_fewer_members_than_requested_are_reported_and_unfinished_ones_refused(
    config, tmp_path, capsys
):
    for k in range(3):
        finished(tmp_path, config.data, k)
    assert len(take(tmp_path, config, members=2)) == 2
    assert capsys.readouterr().out == f"2 members in {tmp_path}\n"
    assert len(take(tmp_path, config, members=10)) == 3
    assert capsys.readouterr().out == f"3 members in {tmp_path}, but 10 were requested\n"
    (tmp_path / "member-1" / "last.safetensors").unlink()
    with pytest.raises(ValueError, match=r"member-1 is not finished: .*--teacher\.members"):
        take(tmp_path, config, members=3)
    (tmp_path / "member-0" / "config.yaml").write_text("")
    with pytest.raises(ValueError, match=r"member-0/config\.yaml is not the configuration"):
        take(tmp_path, config, members=1)
