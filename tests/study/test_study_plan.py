"""What is trained and scored in which order, and what each job depends on."""

from dataclasses import replace
from pathlib import Path

import pytest

from emu_core.study.config import STUDY_METHODS, Copies, Distilling, Item, Pretraining
from emu_core.study.document import ABLATION, MAIN
from emu_core.study.plan import Scoring, Training, make_plan
from emu_core.training.objectives import MemberLoss, StudentLoss

FOLDER = Path("runs/tiny")


def plan_of(study, **changes):
    return {job.key: job for job in make_plan(replace(study, **changes))}


def configs_of(study, **changes):
    """Key of every training → its configuration."""
    jobs = plan_of(study, **changes).values()
    return {job.key: job.config for job in jobs if isinstance(job, Training)}


def scorings_of(study, **changes):
    return [job for job in plan_of(study, **changes).values() if isinstance(job, Scoring)]


def test_methods_come_in_the_configured_order_each_after_its_networks(study):
    keys = list(plan_of(study))
    scored = [(r, k) for r in ("few", "ample") for k in range(2)]
    singles = [(f"{r}/joint/member-{k}", f"{r}/evaluation/single-{k}") for r, k in scored]
    ensembles = ["few/evaluation/de-0", "ample/evaluation/de-0"]
    student = ["few/student/seed-0", "few/evaluation/student-0"]
    assert keys[:13] == ["pretraining", *sum(singles, ()), *ensembles, *student]
    assert keys[-1] == "timing"


def test_every_job_comes_after_all_that_it_depends_on(study):
    order = [Item(method, seeds=3) for method in STUDY_METHODS]
    order += [Item(n, single_task=True) for n in MAIN if not STUDY_METHODS[n].from_teacher]
    regimes = {name: replace(regime, limit=2) for name, regime in study.regimes.items()}
    changes = {"order": order[::-1], "regimes": regimes, "members": 3, "copies": Copies()}
    seen = set()
    for job in plan_of(study, **changes).values():
        assert set(job.needs) <= seen, job.key
        seen.add(job.key)


def test_every_training_runs_on_one_device_of_its_process(study):
    """Otherwise Lightning would start other processes for each GPU."""
    for config in configs_of(study, run=replace(study.run, devices="auto", nodes=2)).values():
        assert (config.run.devices, config.run.nodes) == (1, 1)


def test_the_ensembles_members_are_the_single_networks(study):
    plan = plan_of(study)
    ensemble, single = plan["few/evaluation/de-0"], plan["few/evaluation/single-1"]
    assert ensemble.needs == ("few/joint/member-0", "few/joint/member-1")
    assert single.needs == ("few/joint/member-1",)
    assert ensemble.candidate.paths == tuple(
        FOLDER / key / "last.safetensors" for key in ensemble.needs
    )


def test_an_ensemble_less_one_member_is_scored_with_the_others_networks(study):
    order = [Item("de_less", seeds=3, regimes=["few"])]
    assert [scoring.needs for scoring in scorings_of(study, members=3, order=order)] == [
        tuple(f"few/joint/member-{k}" for k in others) for others in ((1, 2), (0, 2), (0, 1))
    ]
    with pytest.raises(ValueError, match="as many seeds as there are members, at least 3"):
        replace(study, members=5, order=order)


def test_members_differ_only_in_their_seed_and_start_from_one_encoder(study):
    plan, configs = plan_of(study), configs_of(study)
    first, second = (configs[f"few/joint/member-{k}"] for k in range(2))
    assert (first.run.seed, second.run.seed) == (0, 1)
    assert replace(second, run=first.run) == first
    assert plan["few/joint/member-0"].needs == ("pretraining",)
    assert first.architecture.encoder == str(FOLDER / "pretraining/last.safetensors")
    assert (first.run.steps, first.data.limit) == (10, 2)
    assert configs["ample/joint/member-0"].data.limit is None
    pretraining = configs["pretraining"]
    assert (pretraining.run.steps, pretraining.data.limit) == (30, None)
    assert pretraining.architecture.encoder is None


def test_post_hoc_methods_train_nothing_of_their_own(study):
    for name in ("energy", "neco", "laplace", "calibrated", "tta", "de_information"):
        more = plan_of(study, order=[Item("single", seeds=2), Item(name, seeds=1)])
        assert set(more) - {f"{r}/evaluation/{name}-0" for r in study.regimes} == set(
            plan_of(study, order=[Item("single", seeds=2)])
        )


def test_a_packed_ensemble_has_four_narrow_members_that_start_from_a_narrow_encoder(study):
    order = [Item("packed", regimes=["few"])]
    plan, configs = plan_of(study, order=order), configs_of(study, order=order)
    keys = [f"few/joint-packed/member-{k}" for k in range(4)]
    assert set(configs) == {"pretraining-b0_half", *keys}
    assert {config.architecture.variant for config in configs.values()} == {"b0_half"}
    assert plan["few/evaluation/packed-0"].needs == tuple(keys)
    assert plan[keys[0]].needs == ("pretraining-b0_half",)


def test_an_evidential_network_differs_from_a_single_one_only_in_its_outputs(study):
    configs = configs_of(study, order=[Item("single"), Item("evidential")])
    plain, other = (configs[f"few/joint{s}/member-0"] for s in ("", "-evidential"))
    assert other.architecture == replace(plain.architecture, evidential=True)
    assert replace(other, architecture=plain.architecture) == plain


def test_single_task_networks_pair_up_with_the_seeds_of_the_joint_ones(study):
    plan, configs = plan_of(study), configs_of(study)
    pair = plan["few/evaluation/single_task-single-1"]
    assert pair.needs == ("few/segmentation/member-1", "few/depth/member-1")
    joint, alone = configs["few/joint/member-1"], configs["few/segmentation/member-1"]
    assert alone.run == joint.run
    assert replace(alone.architecture, task="joint") == joint.architecture
    assert pair.candidate.name == "single_task-single"
    assert pair.candidate.depth_paths == (FOLDER / "few/depth/member-1/last.safetensors",)


def test_student_and_control_differ_only_in_the_teacher(study):
    plan = plan_of(study)
    student, control = (plan[f"few/{name}/seed-0"] for name in ("student", "control"))
    assert student.config.supervised == control.config
    assert student.teacher == ("few/joint/member-0", "few/joint/member-1")
    assert control.needs == ("pretraining",)
    assert student.config.distillation.cache == FOLDER / "few/predictions/labelled"
    second = plan["few/student/seed-1"].config
    assert second.run.seed == student.config.run.seed + 1 == 101


def test_unlabelled_frames_need_a_weight_on_the_teachers_mean_and_change_no_other_student(study):
    order = [Item("student"), Item("control"), Item("student_unlabelled", regimes=["few"])]
    before, after = (
        plan_of(study, order=order, distilling=Distilling(variants=4, unlabelled_limit=limit))
        for limit in (None, 7)
    )
    plain, more = (before[f"few/{n}/seed-0"].config for n in ("student", "student_unlabelled"))
    assert plain.loss == StudentLoss()
    assert plain.distillation.unlabelled is None
    assert more.loss == StudentLoss(mean_weight=1.0)
    assert more.distillation.unlabelled == "rest"
    assert more.distillation.cache == FOLDER / "few/predictions/unlabelled"
    changed = {key for key in before if before[key].settings != after[key].settings}
    assert changed == {"few/student_unlabelled/seed-0"}


def test_settings_hold_what_decides_the_weights_and_nothing_else(study):
    def changed(**changes):
        before, after = plan_of(study), plan_of(study, **changes)
        return {key for key in before if before[key].settings != after[key].settings}

    place = replace(study.data, root=Path("x"), cache=Path("cache"), workers=3)
    assert changed(data=place) == set()
    assert changed(run=replace(study.run, checkpoint_every=7)) == set()
    assert changed(run=replace(study.run, threads=2)) == {"timing"}
    rate = replace(study.optimisation, learning_rate=1.0)
    trainings = set(configs_of(study))
    assert changed(optimisation=rate) == trainings - {"pretraining"}
    assert "few/evaluation/mcd20-0" in changed(samples=3)


def test_depth_losses_are_compared_with_and_without_a_teacher(study):
    configs = configs_of(study, order=[Item(name) for name in ABLATION])
    losses = {key: (c.loss.depth, c.loss.beta) for key, c in configs.items()}
    for ending, *loss in (("l1", "l1", 0.0), ("rmsle", "rmsle", 0.0), ("beta", "gnll", 0.5)):
        for key in ("joint-single_{}/member-0", "student_{}/seed-0", "control_{}/seed-0"):
            assert losses["few/" + key.format(ending)] == tuple(loss)
    assert losses["few/joint/member-0"] == losses["few/student/seed-0"] == ("gnll", 0.0)
    control, student = (configs[f"few/{n}_rmsle/seed-0"] for n in ("control", "student"))
    assert control == student.supervised
    assert configs["few/student_novar/seed-0"].loss == StudentLoss(variance_weight=0.0)
    assert configs["few/student_logvar/seed-0"].loss == StudentLoss(log_variance=True)


def test_a_method_without_trained_variance_has_no_depth_uncertainty(study):
    scorings = scorings_of(study, order=[Item(name) for name in ABLATION])
    without = {job.method for job in scorings if not job.candidate.depth_uncertainty}
    assert without == {"single_l1", "single_rmsle", "control_l1", "control_rmsle"}
    order = [Item("de", single_task=True), Item("de")]
    scorings = scorings_of(study, loss=MemberLoss(depth="l1"), order=order)
    assert not any(job.candidate.depth_uncertainty for job in scorings)


def test_methods_have_their_own_dropout_heads_and_start(study):
    order = [Item("mcd20"), Item("mcd50", single_task=True), Item("student"), Item("dse")]
    plan = plan_of(study, order=order, distilling=Distilling(init="member"))
    assert plan["few/joint-mcd20/member-0"].config.architecture.dropout == 0.2
    single_task = plan["few/depth-mcd50/member-0"].config.architecture
    assert (single_task.dropout, single_task.task) == (0.5, "depth")
    heads = plan["few/joint-dse"]
    assert heads.trunk == "few/joint/member-0"
    assert heads.trunk in heads.needs
    assert heads.heads == 2
    assert heads.output == "few/joint-dse/sub_ensemble.safetensors"
    student = plan["few/student/seed-0"].config.architecture
    assert student.init == FOLDER / "few/joint/member-0/last.safetensors"
    assert student.encoder is None


def test_another_backbone_is_a_regime_of_its_own(study):
    few = {"regimes": ["few"], "variant": "b1"}
    order = [Item("single"), Item("de", **few), Item("student", **few), Item("single", **few)]
    plan = plan_of(study, order=order)
    assert plan["few-b1/evaluation/de-0"].regime == "few-b1"
    members = ("few-b1/joint/member-0", "few-b1/joint/member-1")
    assert plan["few-b1/student/seed-0"].teacher == members
    member, other = plan["few/joint/member-0"], plan["few-b1/joint/member-0"]
    assert (member.needs, other.needs) == (("pretraining",), ("pretraining-b1",))
    assert other.config.architecture.variant == "b1"
    assert plan["pretraining-b1"].config.architecture.variant == "b1"
    assert (other.config.data, other.config.run) == (member.config.data, member.config.run)
    order = [Item("single", variant="b0", regimes=["few"])]  # the study's own
    assert "few/joint/member-0" in plan_of(study, order=order)


def test_copies_set_the_pretrainings_drives_aside(study):
    plan = plan_of(study, copies=Copies(), pretraining=Pretraining())
    assert plan["pretraining"].config.data.root == FOLDER / "data/pretraining"
    assert plan["few/joint/member-0"].config.data.root == FOLDER / "data/drives"
    assert plan["few/joint/member-0"].needs == ("pretraining", "copies")
    assert plan["copies"].settings["splits"] == ["train", "val", "test", "haze"]
    with pytest.raises(ValueError, match="would run on the members' own frames"):
        replace(study, pretraining=Pretraining())


def test_a_method_that_is_listed_twice_is_scored_on_all_splits_of_both(study):
    order = [Item("single", splits=["haze"]), Item("single", splits=["in_domain"])]
    both = [list(scoring.settings["splits"]) for scoring in scorings_of(study, order=order)]
    assert both == [["haze", "in_domain"]] * 2  # of two regimes


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Item("best"), "Expected a method of a study of single,"),
        (Item("single", regimes=["many"]), "expected regimes of few, ample, but got 'many'"),
        (Item("single", splits=["fog"]), "expected splits of in_domain, haze, but got 'fog'"),
        (Item("student", single_task=True), "students have no single-task form"),
        (Item("de", seeds=0), r"order\.0\.seeds must be at least 1, but it is 0"),
        (Item("de", variant="b9"), "expected variant of b0, b1, .* but got 'b9'"),
        (Item("student_unlabelled"), "regime ample trains on all frames, so there are no unlabel"),
    ],
)
def test_settings_that_do_not_fit_are_refused(study, item, message):
    with pytest.raises(ValueError, match=message):
        replace(study, order=[item])
