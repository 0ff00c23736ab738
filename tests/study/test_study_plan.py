"""What is trained and scored in which order, and what each network needs."""

from dataclasses import replace
from pathlib import Path

import pytest

from emu_core.study.config import Copies, Distilling, Item, Pretraining
from emu_core.study.plan import Scoring, Training, make_plan
from emu_core.study.rows import ABLATION, METHODS, ROWS
from emu_core.training.objectives import MemberLoss, StudentLoss


def trainings(study, **changes):
    plan = make_plan(replace(study, **changes))
    return {step.key: step for step in plan if isinstance(step, Training)}


def test_rows_come_in_the_configured_order_each_behind_its_networks(study):
    keys = [step.key for step in make_plan(study)]
    assert keys[:5] == [
        "pretraining",
        "few/joint/member-0",
        "few/evaluation/single-0",
        "few/joint/member-1",
        "few/evaluation/single-1",
    ]
    assert keys[5:9] == [
        "ample/joint/member-0",
        "ample/evaluation/single-0",
        "ample/joint/member-1",
        "ample/evaluation/single-1",
    ]
    assert keys[9:13] == [
        "few/evaluation/de-0",
        "ample/evaluation/de-0",
        "few/student/seed-0",
        "few/evaluation/student-0",
    ]


def test_every_step_comes_behind_all_that_it_needs(study):
    everything = [Item(row, seeds=3) for row in ROWS] + [
        Item(row, apart=True) for row in METHODS if not ROWS[row].teacher
    ]
    regimes = {name: replace(regime, limit=2) for name, regime in study.regimes.items()}
    seen = set()
    for step in make_plan(replace(study, order=everything[::-1], regimes=regimes, members=3)):
        assert set(step.needs) <= seen, step.key
        seen.add(step.key)


def test_every_training_runs_on_one_device_of_its_process(study):
    """Else Lightning would start the whole study again for each GPU."""
    for training in trainings(study, run=replace(study.run, devices="auto", nodes=2)).values():
        assert (training.run.devices, training.run.nodes) == (1, 1), training.key


def test_the_ensembles_members_are_the_single_networks(study):
    plan = {step.key: step for step in make_plan(study)}
    ensemble, single = plan["few/evaluation/de-0"], plan["few/evaluation/single-1"]
    assert ensemble.needs == ("few/joint/member-0", "few/joint/member-1")
    assert single.needs == ("few/joint/member-1",)
    folder = Path("runs/tiny")
    assert ensemble.candidate(folder).paths == tuple(
        folder / f"few/joint/member-{k}/last.safetensors" for k in range(2)
    )


def test_an_ensemble_less_one_member_is_scored_with_the_others_networks(study):
    order = [Item("de_less", seeds=3, regimes=["few"])]
    plan = make_plan(replace(study, members=3, order=order))
    needs = [step.needs for step in plan if isinstance(step, Scoring)]
    assert needs == [
        tuple(f"few/joint/member-{k}" for k in others) for others in ((1, 2), (0, 2), (0, 1))
    ]
    with pytest.raises(ValueError, match="as many seeds as there are members, at least 3"):
        replace(study, members=5, order=order)


def test_members_differ_in_their_seed_alone_and_start_from_one_encoder(study):
    of_study = trainings(study)
    first, second = (of_study[f"few/joint/member-{k}"] for k in range(2))
    assert (first.run.seed, second.run.seed) == (0, 1)
    assert replace(second, key=first.key, run=first.run) == first
    assert first.encoder == "pretraining"
    assert first.run.steps == 10
    assert first.data.limit == 2
    assert of_study["ample/joint/member-0"].data.limit is None
    assert of_study["pretraining"].run.steps == 30
    assert of_study["pretraining"].data.limit is None


def test_single_task_networks_pair_up_with_the_seeds_of_the_joint_ones(study):
    plan = {step.key: step for step in make_plan(study)}
    apart = plan["few/evaluation/apart-single-1"]
    assert apart.needs == ("few/segmentation/member-1", "few/depth/member-1")
    joint, alone = plan["few/joint/member-1"], plan["few/segmentation/member-1"]
    assert alone.run == joint.run
    assert replace(alone.architecture, task="joint") == joint.architecture
    candidate = apart.candidate(Path("x"))
    assert candidate.name == "apart-single"
    assert candidate.depth_paths == (Path("x/few/depth/member-1/last.safetensors"),)


def test_student_and_control_differ_in_the_teacher_alone(study):
    of_study = trainings(study)
    student, control = (of_study[f"few/{row}/seed-0"] for row in ("student", "control"))
    assert student.kind == "student"
    assert control.kind == "control"
    alike = {"kind": "control", "key": control.key, "teacher": (), "asks": True}
    assert replace(student, **alike) == control
    assert student.teacher == ("few/joint/member-0", "few/joint/member-1")


def test_only_the_first_student_asks_its_teacher_where_answers_are_kept(study):
    order = [Item("student", seeds=2), Item("student_l1"),
             Item("student_fresh", seeds=2, regimes=["few"])]  # fmt: skip
    kept = trainings(study, order=order)
    asks = {key: t.asks for key, t in kept.items() if t.kind == "student" and "few" in key}
    assert asks == {
        "few/student/seed-0": True,
        "few/student/seed-1": False,
        "few/student_l1/seed-0": False,
        "few/student_fresh/seed-0": True,
        "few/student_fresh/seed-1": False,
    }
    never = trainings(study, order=order, distilling=Distilling(variants=None))
    assert all(t.asks for t in never.values())


def test_fresh_frames_need_a_weight_on_the_teachers_mean(study):
    of_study = trainings(study, order=[Item("student"), Item("student_fresh", regimes=["few"])])
    plain, fresh = (of_study[f"few/{row}/seed-0"] for row in ("student", "student_fresh"))
    assert plain.loss == StudentLoss()
    assert not plain.fresh
    assert fresh.loss == StudentLoss(mean_weight=1.0)
    assert fresh.fresh


def test_what_is_said_of_fresh_frames_changes_no_other_students_settings(study):
    order = [Item("student"), Item("control"), Item("student_fresh", regimes=["few"])]
    plans = [
        trainings(study, order=order, distilling=Distilling(fresh_limit=limit))
        for limit in (None, 7)
    ]
    changed = {key for key in plans[0] if plans[0][key].settings() != plans[1][key].settings()}
    assert changed == {"few/student_fresh/seed-0"}


def test_the_depth_loss_is_ablated_with_and_without_a_teacher(study):
    of_study = trainings(study, order=[Item(row) for row in ABLATION])
    losses = {
        key: (t.loss.depth, t.loss.beta) for key, t in of_study.items() if key.startswith("few")
    }
    assert losses["few/joint-single_l1/member-0"] == ("l1", 0.0)
    assert losses["few/joint-single_rmsle/member-0"] == ("rmsle", 0.0)
    assert losses["few/joint-single_beta/member-0"] == ("gnll", 0.5)
    assert losses["few/student_l1/seed-0"] == ("l1", 0.0)
    assert losses["few/student_beta/seed-0"] == ("gnll", 0.5)
    assert losses["few/control_l1/seed-0"] == ("l1", 0.0)
    assert losses["few/control_beta/seed-0"] == ("gnll", 0.5)
    assert losses["few/joint/member-0"] == losses["few/student/seed-0"] == ("gnll", 0.0)
    control, pupil = (of_study[f"few/{row}_rmsle/seed-0"] for row in ("control", "student"))
    assert control.loss == pupil.loss
    assert control.run == pupil.run
    assert of_study["few/student_novar/seed-0"].loss == StudentLoss(variance_weight=0.0)
    assert of_study["few/student_logvar/seed-0"].loss == StudentLoss(log_variance=True)


def test_a_row_whose_variance_nothing_trains_has_no_uncertainty_of_depth(study):
    plan = make_plan(replace(study, order=[Item(row) for row in ABLATION]))
    without = {
        step.row
        for step in plan
        if isinstance(step, Scoring) and not step.candidate(Path("x")).depth_uncertainty
    }
    assert without == {"single_l1", "single_rmsle", "control_l1", "control_rmsle"}
    l1 = replace(study, loss=MemberLoss(depth="l1"), order=[Item("de", apart=True), Item("de")])
    scorings = [step for step in make_plan(l1) if isinstance(step, Scoring)]
    assert not any(step.candidate(Path("x")).depth_uncertainty for step in scorings)


def test_dropout_rows_are_trained_with_their_dropout(study):
    of_study = trainings(study, order=[Item("mcd20"), Item("mcd50", apart=True)])
    assert of_study["few/joint-mcd20/member-0"].architecture.dropout == 0.2
    assert of_study["few/depth-mcd50/member-0"].architecture.dropout == 0.5
    assert of_study["few/depth-mcd50/member-0"].architecture.task == "depth"


def test_heads_grow_on_the_first_members_trunk(study):
    heads = trainings(study)["few/joint-dse"]
    assert heads.trunk == "few/joint/member-0"
    assert heads.heads == 2
    assert heads.weights(Path("x")) == Path("x/few/joint-dse/sub_ensemble.safetensors")


def test_students_may_start_from_a_member(study):
    student = trainings(study, distilling=Distilling(init="member"))["few/student/seed-0"]
    assert student.init == "few/joint/member-0"
    assert student.encoder is None


def test_another_backbone_is_a_regime_of_its_own(study):
    few = {"regimes": ["few"], "variant": "b1"}
    order = [Item("single"), Item("de", **few), Item("student", **few), Item("single", **few)]
    plan = {step.key: step for step in make_plan(replace(study, order=order))}
    assert plan["few-b1/evaluation/de-0"].regime == "few-b1"
    assert plan["few-b1/student/seed-0"].teacher == (
        "few-b1/joint/member-0", "few-b1/joint/member-1",
    )  # fmt: skip
    member, other = plan["few/joint/member-0"], plan["few-b1/joint/member-0"]
    assert (member.encoder, other.encoder) == ("pretraining", "pretraining-b1")
    assert other.architecture == replace(member.architecture, variant="b1")
    assert plan["pretraining-b1"].architecture.variant == "b1"
    assert (other.data, other.run) == (member.data, member.run)


def test_the_studys_own_backbone_is_no_other(study):
    order = [Item("single", variant="b0", regimes=["few"])]
    assert "few/joint/member-0" in trainings(study, order=order)


def test_copies_keep_the_pretrainings_drives_apart(study):
    of_study = trainings(study, copies=Copies(), pretraining=Pretraining())
    assert of_study["pretraining"].data.root == Path("runs/tiny/data/pretraining")
    assert of_study["few/joint/member-0"].data.root == Path("runs/tiny/data/drives")


def test_a_row_asked_for_twice_is_scored_on_all_splits_of_both(study):
    order = [Item("single", splits=["haze"]), Item("single", splits=["in_domain"])]
    scorings = [s for s in make_plan(replace(study, order=order)) if isinstance(s, Scoring)]
    assert [s.splits for s in scorings] == [("haze", "in_domain")] * 2  # one for each regime


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Item("best"), "row best: expected row of single,"),
        (Item("single", regimes=["many"]), "expected regimes of few, ample, but got 'many'"),
        (Item("single", splits=["fog"]), "expected splits of in_domain, haze, but got 'fog'"),
        (Item("student", apart=True), "students have no single-task form"),
        (Item("de", seeds=0), "at least one seed"),
        (Item("de", variant="b9"), "expected variant of b0, b1, .* but got 'b9'"),
    ],
)
def test_what_cannot_be_meant_is_refused(study, item, message):
    with pytest.raises(ValueError, match=message):
        replace(study, order=[item])


def test_a_pretraining_on_the_members_own_frames_is_refused(study):
    with pytest.raises(ValueError, match="would run on the members' own frames"):
        replace(study, pretraining=Pretraining())
    assert trainings(study)["pretraining"].data.root == Path("data/others")


def test_a_student_of_fresh_frames_needs_a_regime_that_leaves_some(study):
    with pytest.raises(ValueError, match="regime ample trains on all frames, so none is fresh"):
        replace(study, order=[Item("student_fresh")])
    sequences = {"ample": replace(study.regimes["ample"], sequences=2)}
    assert replace(study, order=[Item("student_fresh")], regimes=study.regimes | sequences)
