"""What a study is said to cost, against sums by hand."""

from dataclasses import replace

import pytest
import torch

from emu_core.data.datasets import open_dataset
from emu_core.study import cost
from emu_core.study.config import Distilling, Item
from emu_core.study.cost import KINDS, measure, relative, scoring_seconds, training_seconds
from emu_core.study.estimate import estimate, table
from emu_core.study.execution import Execution, StudyError
from emu_core.study.plan import make_plan
from emu_core.study.session import announce

COSTS = {"joint": 1.0, "segmentation": 0.7, "depth": 0.6, "heads": 0.4, "forward": 0.1,
         "metrics": 0.05, "load": 0.08}  # fmt: skip


@pytest.fixture
def steps(study, monkeypatch):
    monkeypatch.setattr(cost.os, "cpu_count", lambda: 4)  # loading costs 0.02 beside training
    order = [Item("single"), Item("student", seeds=2), Item("dse"), Item("mcd20"),
             Item("single", apart=True), Item("dse", apart=True), Item("de")]  # fmt: skip
    with_worker = replace(study, order=order, data=replace(study.data, workers=1))
    return {step.key: step for step in make_plan(with_worker)}


@pytest.mark.parametrize(
    ("key", "seconds"),
    [
        ("few/joint/member-0", 20 * 1.02),  # 10 steps of 2 images
        ("ample/joint/member-0", 40 * 1.02),
        ("pretraining", 60 * 1.02),
        ("few/segmentation/member-0", 20 * 0.72),
        # Two members answer: of few to 2 frames in 4 variants, of ample to all 40 images.
        ("few/student/seed-0", 20 * 1.02 + 8 * 2 * 0.1),
        ("ample/student/seed-0", 40 * (1.02 + 2 * 0.1)),
        ("few/student/seed-1", 20 * 1.02),  # their answers are kept
        ("few/joint-dse", 20 * 0.42),  # one more head
        ("few/depth-dse", 20 * 0.22),
    ],
)
def test_a_training_costs_its_images(steps, key, seconds):
    assert training_seconds(steps[key], COSTS) == pytest.approx(seconds)


def test_a_larger_backbone_costs_as_much_more_as_it_computes():
    """B1 is B0 at twice the width: its convolutions cost four times as much, its decoders less."""
    assert relative("b0", "b0") == 1
    assert 1.5 < relative("b1", "b0") < 4
    assert relative("b2", "b1") > 1


def test_the_estimate_counts_the_backbone(small, drives, fakes):
    order = [Item("single"), Item("single", variant="b1")]
    study = replace(small, order=order)
    lines = estimate(Execution(study, make_plan(study), fakes.trainers()), COSTS)
    seconds = {line.step.key: line.total for line in lines}
    for key in ("joint/member-0", "evaluation/single-0"):
        ratio = seconds[f"few-b1/{key}"] / seconds[f"few/{key}"]
        assert ratio == pytest.approx(relative("b1", "b0"))


def test_without_workers_loading_costs_all_of_its_time(study):
    member = next(step for step in make_plan(study) if step.key == "few/joint/member-0")
    assert training_seconds(member, COSTS) == pytest.approx(20 * 1.08)


@pytest.mark.parametrize(
    ("key", "forwards"),
    [("single-0", 1.0), ("de-0", 2.0), ("mcd20-0", 1.5), ("dse-0", 1.5), ("apart-single-0", 1.5)],
)
def test_a_scoring_costs_its_forwards_and_its_metrics(steps, key, forwards):
    seconds = scoring_seconds(steps[f"few/evaluation/{key}"], {"in_domain": 3, "haze": 2}, COSTS)
    assert seconds == pytest.approx(5 * (0.08 + 0.05 + forwards * 0.1))


def test_a_teacher_is_asked_once_about_each_image_whose_answer_is_kept(study):
    def answers(row, distilling, limit=2):
        regimes = {"few": replace(study.regimes["few"], steps=10, limit=limit)}
        plan = make_plan(replace(study, regimes=regimes, order=[Item(row)], distilling=distilling))
        return {step.key: step for step in plan}[f"few/{row}/seed-0"].answers

    assert answers("student", Distilling(variants=None)) == 20
    assert answers("student", Distilling(variants=3)) == 6
    assert answers("student", Distilling(variants=100)) == 20
    assert answers("student_fresh", Distilling(variants=3, fresh_limit=4)) == 18
    assert answers("student_fresh", Distilling(variants=3)) == 20  # of frames nobody counted
    assert answers("control", Distilling(variants=3)) == 0


def test_whole_images_are_scored_at_the_cost_of_as_many_crops(small, drives, fakes):
    whole = replace(small.data, validation_size=(64, 128), augmentation=replace(
        small.data.augmentation, image_width=128))  # fmt: skip
    costs = dict.fromkeys(KINDS, 0.0) | {"forward": 1.0}
    scored = []
    for data in (small.data, whole):
        study = replace(small, data=data, order=[Item("single")], pretraining=None)
        lines = estimate(Execution(study, make_plan(study), fakes.trainers()), costs)
        scored.append(lines[-1].total)
    assert scored == pytest.approx([4.0, 4.0 * 4])  # two images of each of two splits


def test_what_lies_in_checkpoints_is_not_left_to_do(study, drives, fakes):
    order = [Item("dse", regimes=["few"]), Item("mcd20", regimes=["few"])]
    study = replace(study, order=order, members=3)
    execution = Execution(study, make_plan(study), fakes.trainers())
    few = execution.folder / "few"
    for place, steps in (("joint-dse/member-1", 10), ("joint-dse/member-2", 5)):
        (few / place).mkdir(parents=True)
        torch.save({"global_step": steps}, few / place / "last.ckpt")
    (few / "joint-mcd20/member-0").mkdir(parents=True)
    (few / "joint-mcd20/member-0/last.ckpt").write_bytes(b"torn")
    lines = {line.step.key: line for line in estimate(execution, COSTS)}
    heads, torn = lines["few/joint-dse"], lines["few/joint-mcd20/member-0"]
    assert heads.left == pytest.approx(0.25 * heads.total)
    assert torn.left == torn.total


def test_what_is_done_costs_nothing_more(small, drives, fakes):
    execution = Execution(small, make_plan(small), fakes.trainers())
    costs = dict.fromkeys(KINDS, 0.0) | {"joint": 180.0, "forward": 0.0}
    lines = estimate(execution, costs)
    assert sum(line.left for line in lines) == pytest.approx(4 * 20 * 180)
    text = table(lines)
    assert text.splitlines()[1].split() == ["train", "few/joint", "2", "0", "2.00", "2.00", "2.00"]

    execution.run()
    lines = estimate(execution, costs)
    assert sum(line.left for line in lines) == 0
    assert table(lines).splitlines()[1].split()[2:4] == ["2", "2"]


def test_trainings_that_took_longer_than_thought_correct_the_others(small, drives, fakes):
    execution = Execution(small, make_plan(small), fakes.trainers())
    costs = dict.fromkeys(KINDS, 0.0) | {"joint": 0.5}
    fakes.failing = {"seed-0"}  # the student's and the control's
    execution.run()
    durations = execution.folder / "durations.json"
    durations.write_text('{"few/joint/member-0": 30.0, "few/joint/member-1": 30.0}')
    left = {line.step.key: line.left for line in estimate(execution, costs)}
    assert left["few/control/seed-0"] == pytest.approx(3 * 10.0)


def test_costs_are_measured_where_none_are_given_and_kept(small, drives, fakes, capsys):
    execution = Execution(
        replace(small, seconds_per_image=None), make_plan(small), fakes.trainers()
    )
    assert announce(execution) > 0
    assert (execution.folder / "costs.json").is_file()
    before = capsys.readouterr().out
    announce(execution)
    assert "measuring" in before
    assert "measuring" not in capsys.readouterr().out
    assert "0 of 8 steps are done" in before


def test_a_step_of_both_tasks_costs_more_than_a_forward(small, drives):
    samples = open_dataset("drives", small.data.root, "train")
    found = measure(samples, small.data, small.architecture)
    assert set(found) == set(KINDS)
    assert found["joint"] > found["forward"] > 0
    assert found["load"] > 0


def test_a_cost_that_is_lacking_is_named(small, drives, fakes):
    execution = Execution(
        replace(small, seconds_per_image={"joint": 1.0}), make_plan(small), fakes.trainers()
    )
    with pytest.raises(StudyError, match="lacks segmentation, depth"):
        announce(execution)
