"""The shipped configurations of studies."""

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from emu_core.data.description import read_description
from emu_core.study.config import STUDY_METHODS, Study, StudyMethod, study_method
from emu_core.study.plan import Training, make_plan
from emu_core.training.command import parse_config

TRAINING = Path(__file__).parents[2] / "training"


def read(*configs):
    files = [part for c in configs for part in ("--config", str(TRAINING / "configs" / c))]
    return parse_config(Study, files, "")


def seeds_of(study):
    """(regime, method, single_task) → number of seeds."""
    seeds = {}
    for item in study.order:
        for regime in item.regimes or study.regimes:
            key = (regime, item.method, item.single_task)
            seeds[key] = max(seeds.get(key, 0), item.seeds)
    return seeds


@pytest.mark.parametrize(
    ("configs", "regimes"),
    [
        (["study.yaml"], {"few", "ample"}),
        (["cityscapes.yaml", "study_cityscapes.yaml"], {"full"}),
        (["nyuv2.yaml", "study_nyuv2.yaml"], {"full"}),
    ],
)
def test_the_shipped_studies_have_every_method_of_the_papers_tables(configs, regimes):
    study = read(*configs)
    seeds = seeds_of(study)
    assert set(study.regimes) == regimes
    assert study.members >= 5
    for regime in regimes:
        for method in ("single", "mcd20", "mcd50", "dse", "de"):
            assert (regime, method, False) in seeds
            assert (regime, method, True) in seeds
        assert min(seeds[regime, method, False] for method in ("student", "control")) >= 3
        assert min(seeds[regime, "single", single_task] for single_task in (False, True)) >= 5
    kinds, endings = ("single", "student", "control"), ("l1", "rmsle", "beta")
    losses = [f"{kind}_{loss}" for kind in kinds for loss in endings]
    for method in (*losses, "student_novar", "student_logvar"):
        assert any((regime, method, False) in seeds for regime in regimes)
    assert make_plan(study)


def test_the_study_on_drives_has_few_frames_unlabelled_ones_and_all_splits():
    study = read("study.yaml")
    assert ("few", "student_unlabelled", False) in seeds_of(study)
    assert set(study.splits) == {"in_domain", "haze", "night", "unknown"}
    assert study.copies is not None
    assert study.pretraining is not None
    assert all(item.splits is None for item in study.order)
    # With the unlabelled frames a quarter still has labels.
    labelled = study.regimes["few"].limit
    assert labelled / (labelled + study.distilling.unlabelled_limit) == 0.25
    assert study.distilling.variants == 32


def test_the_study_on_real_frames_starts_from_one_network_and_distils_on_other_cameras():
    study = read("study_real.yaml")
    seeds = seeds_of(study)
    distilled = ("student", "control", "student_unlabelled")
    assert [seeds["real", method, False] for method in distilled] == [3, 3, 3]
    configs = {job.key: job.config for job in make_plan(study) if isinstance(job, Training)}
    assert {str(config.architecture.init) for config in configs.values()} == {
        "runs/rendered_student.onnx"
    }
    distilled = configs["real/student_unlabelled/seed-0"].distillation
    assert distilled.unlabelled == "unlabelled" and distilled.unlabelled_limit is None
    about = read_description(TRAINING / "configs/datasets/pandaset_few")
    assert {"train", "val", "unlabelled", *study.splits.values()} == {*about.splits}
    cameras = ("front", "front_left", "front_right", "back", "left", "right")
    names = [f"{c}_camera/{m:02d}" for c in cameras for m in range(0, 56, 2)]
    sizes = {
        split: sum(any(fnmatchcase(name, p) for p in patterns) for name in names)
        for split, patterns in about.splits.items()
    }
    assert sizes == {"train": 48, "val": 6, "late": 30, "side": 30, "unlabelled": 48}


def test_pilots_are_small():
    study, large = read("study_pilot.yaml"), read("study.yaml")
    assert study.data.root == large.folder / "data/drives"
    assert study.pretraining.root == large.folder / "data/pretraining"
    assert replace(study.data, root=large.data.root) == large.data
    assert study.optimisation == large.optimisation
    trainings = [job for job in make_plan(study) if isinstance(job, Training)]
    assert len(trainings) == 1 + 3 + 2 + 2
    # At 0.09 s for each image of a training step and 0.02 s for each of 3 members' predictions.
    images = sum(t.config.run.steps * t.config.data.batch for t in trainings)
    assert images * 0.09 + 3 * 16 * 32 * 0.02 < 45 * 60


def test_a_method_can_be_added_to_studies(study, monkeypatch):
    monkeypatch.setitem(STUDY_METHODS._values, "mcd30", StudyMethod("mcd", "30 %", dropout=0.3))
    order = [replace(study.order[0], method="mcd30", seeds=1)]
    plan = {job.key: job for job in make_plan(replace(study, order=order))}
    assert plan["few/joint-mcd30/member-0"].config.architecture.dropout == 0.3
    assert study_method("mcd").heading == "MC Dropout"  # kinds can be used as they are
