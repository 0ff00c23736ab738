"""Single jobs: what they train from, what they leave, and when they refuse to."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from emu_core import files
from emu_core.data.sample import DataError
from emu_core.evaluation.timing import load_times
from emu_core.networks import load_model
from emu_core.study import jobs
from emu_core.study.config import Copies, Item
from emu_core.study.jobs import StudyError, changed_settings, check_inputs, one_gpu, run_job
from emu_core.study.plan import make_plan
from emu_core.study.results import load_scores

FOLDER = Path("runs/tiny")
MEMBER, STUDENT = "few/joint/member-0", "few/student/seed-0"


def test_every_job_leaves_its_output_and_starts_from_the_plans_networks(
    study, drives, trained, run_all
):
    plan = run_all(study)
    assert all((FOLDER / job.output).is_file() for job in plan.values())
    trunk = load_model(FOLDER / "few/joint-dse/member-0/last.safetensors")[0]
    first = load_model(FOLDER / MEMBER / "last.safetensors")[0]
    torch.testing.assert_close(trunk.state_dict(), first.state_dict())
    scores = load_scores(study, list(plan.values()), jobs.open_splits(study))
    (_, second) = scores["few"]["haze"]["single_task-single"]
    assert second.results.names == ("haze3000", "haze3001")
    found = json.loads((FOLDER / "few/evaluation/de-0.json").read_text())["disagreement"]
    assert set(found) == {"in_domain", "haze"}
    assert 0 < found["haze"]["labels"] <= 1
    assert 0 < found["haze"]["epistemic_share"] < 1
    timing = load_times(FOLDER / "timing.json").values
    joint = {"single", "de", "student", "control", "mcd20", "dse"}
    assert set(timing) == {*joint, "single_task-single"}


def test_methods_get_what_they_need_beside_the_weights_of_the_single_networks(
    small, drives, trained, run_all
):
    names = ("max_softmax", "mahalanobis", "laplace", "calibrated", "evidential", "packed")
    study = replace(small, order=[Item(name) for name in ("single", *names)])
    plan = run_all(study)
    assert set(trained) == {
        MEMBER,
        "few/joint-evidential/member-0",
        *(f"few/joint-packed/member-{k}" for k in range(4)),
    }
    beside = {path.name for path in (FOLDER / MEMBER).iterdir()}
    assert beside >= {"last.features.safetensors", "last.laplace.safetensors"}
    assert "last.calibration.json" in beside
    scores = load_scores(study, list(plan.values()), jobs.open_splits(study))["few"]["haze"]
    assert set(scores) == {"single", *names}


def test_a_training_from_before_an_option_existed_is_kept(small, drives, trained, run_all):
    plan, record = run_all(small), FOLDER / MEMBER / jobs.RECORD
    found = json.loads(record.read_text())
    del found["settings"]["loss.average"]
    record.write_text(json.dumps(found))
    (FOLDER / MEMBER / "last.ckpt").write_bytes(b"kept")
    assert changed_settings(plan[MEMBER], FOLDER) is None
    run_job(MEMBER, small, plan)
    assert (FOLDER / MEMBER / "last.ckpt").is_file()


def test_what_was_trained_from_other_weights_is_deleted_and_trained_again(
    small, drives, trained, run_all
):
    plan = run_all(small)
    checkpoint = FOLDER / STUDENT / "last.ckpt"
    checkpoint.write_bytes(b"of a training with the old members")
    run_job(STUDENT, small, plan)
    assert checkpoint.is_file()  # the training goes on from it
    (FOLDER / MEMBER / "last.safetensors").write_bytes(
        (FOLDER / "few/control/seed-0/last.safetensors").read_bytes()
    )
    run_job(STUDENT, small, plan)
    assert not checkpoint.exists()
    assert (FOLDER / STUDENT / "last.safetensors").is_file()


def test_a_job_refuses_to_train_over_other_settings(small, drives, trained, run_all):
    run_all(small)
    changed = replace(small, regimes={"few": replace(small.regimes["few"], steps=11)})
    plan = {job.key: job for job in make_plan(changed)}
    message = r"member-0 was trained with other settings \(run.steps: 10 → 11\)"
    with pytest.raises(StudyError, match=message):
        run_job(MEMBER, changed, plan)
    place = replace(small, data=replace(small.data, cache=Path("cache")))
    assert not any(changed_settings(job, FOLDER) for job in make_plan(place))


def test_a_training_that_diverges_leaves_the_reason(small, drives, trained, monkeypatch):
    def diverge(*_):
        raise FloatingPointError("The loss became nan at step 3.")

    plan = {job.key: job for job in make_plan(small)}
    with monkeypatch.context() as patch, pytest.raises(FloatingPointError):
        patch.setattr(jobs, "train_network", diverge)
        run_job(MEMBER, small, plan)
    failed = FOLDER / MEMBER / "failed.json"
    assert json.loads(failed.read_text()) == {"reason": "The loss became nan at step 3."}
    run_job(MEMBER, small, plan)
    assert not failed.exists()


def test_trainings_depend_on_the_copies_that_they_were_made_from(small, drives, trained, run_all):
    small = replace(small, copies=Copies(small.data.root, width=80, pretraining_drives=1))
    plan = run_all(replace(small, order=[Item("single")]))
    marker = FOLDER / MEMBER / "last.ckpt"
    marker.write_bytes(b"")
    made = FOLDER / "data/train.json"
    made.write_text(made.read_text().replace('"80"', '"96"'))
    run_job(MEMBER, small, plan)
    assert not marker.exists()


def test_jobs_on_one_machine_use_different_gpus(monkeypatch, tmp_path):
    monkeypatch.setattr(jobs.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    used = []
    with one_gpu():
        used.append(jobs.os.environ["CUDA_VISIBLE_DEVICES"])
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")  # as another process sees it
        with one_gpu():
            used.append(jobs.os.environ["CUDA_VISIBLE_DEVICES"])
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
            with one_gpu():
                assert jobs.os.environ["CUDA_VISIBLE_DEVICES"] in used  # shared
    assert used == ["4", "7"]


def test_missing_data_and_too_little_space_are_reported_before_the_first_job(
    small, drives, monkeypatch
):
    plan = make_plan(small)
    check_inputs(small, plan)
    with pytest.raises(DataError, match="fog"):
        check_inputs(replace(small, splits={"in_domain": "test", "fog": "fog"}), plan)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(
        OSError, match=r"about 0\.[0-9]+ GB of checkpoints and weights in runs/tiny"
    ):
        check_inputs(small, plan)


def test_a_share_of_nothing_is_nan_and_null_in_a_jobs_output(study, drives, trained, run_all):
    plan = run_all(
        replace(study, members=1, order=[Item("de")], regimes={"few": study.regimes["few"]})
    )
    found = json.loads((FOLDER / "few/evaluation/de-0.json").read_text())["disagreement"]
    assert found["haze"]["labels"] is None  # there is no pair of members
    assert (FOLDER / plan["timing"].output).is_file()
