"""A study carried out, killed, gone on with; with networks that are made instead of trained."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from emu_core.networks import load_model
from emu_core.study import execution as module
from emu_core.study.config import Copies, Item
from emu_core.study.execution import Execution, StudyError
from emu_core.study.plan import make_plan

FOLDER = Path("runs/tiny")


@pytest.fixture
def begin(drives, fakes):
    """Function that makes the execution of a study, as a new call of the command does."""

    def make(study):
        return Execution(study, make_plan(study), fakes.trainers())

    return make


def test_everything_is_trained_in_order_and_scored_once(finished):
    assert finished.fakes.keys == [
        "pretraining",
        "few/joint/member-0", "few/joint/member-1",
        "ample/joint/member-0", "ample/joint/member-1",
        "few/student/seed-0", "few/student/seed-1", "ample/student/seed-0", "ample/student/seed-1",
        "few/control/seed-0", "ample/control/seed-0",
        "few/joint-mcd20/member-0",
        "few/joint-dse",
        "few/segmentation/member-0", "few/depth/member-0",
        "few/segmentation/member-1", "few/depth/member-1",
    ]  # fmt: skip
    execution = finished.execution
    assert len(finished.told) == 4 + 2 + 4 + 2 + 1 + 1 + 2
    assert all(execution.done(step) for step in execution.plan)
    apart = execution.store("few").load("apart-single", 1, "haze")
    assert apart.results.names == ("haze3000", "haze3001")


def test_a_finished_study_given_again_does_nothing(finished):
    fakes = type(finished.fakes)()
    again = Execution(finished.study, make_plan(finished.study), fakes.trainers())
    again.prepare()
    assert again.run(scored=lambda scoring: pytest.fail(f"{scoring.key} was scored twice"))
    assert fakes.keys == []


def test_networks_start_from_what_the_plan_says(finished):
    asked = {key: (run, details) for key, _, run, details in finished.fakes.asked}
    encoder = str(FOLDER / "pretraining/last.safetensors")
    assert asked["pretraining"][1]["architecture"].encoder is None
    assert asked["few/joint/member-1"][1]["architecture"].encoder == encoder
    assert asked["few/student/seed-1"][1]["architecture"].encoder == encoder
    assert asked["few/joint/member-1"][0].seed == 1
    assert asked["few/student/seed-1"][0].seed == asked["few/control/seed-0"][0].seed + 1
    inputs = asked["few/student/seed-0"][1]["inputs"]
    assert inputs == {"jitter": (0.2, 0.2, 0.2, 0.4), "variants": 4}
    assert asked["few/control/seed-0"][1]["inputs"] == inputs
    assert asked["few/student/seed-0"][1]["cache"] == FOLDER / "few/answers/labelled"
    trunk = load_model(FOLDER / "few/joint-dse/member-0/last.safetensors")[0]
    first = load_model(FOLDER / "few/joint/member-0/last.safetensors")[0]
    torch.testing.assert_close(trunk.state_dict(), first.state_dict())


def test_disagreement_and_durations_are_kept(finished):
    found = json.loads((FOLDER / "few/disagreement.json").read_text())
    assert set(found) == {"in_domain", "haze"}
    assert 0 < found["haze"]["labels"] <= 1
    assert 0 < found["haze"]["epistemic_share"] < 1
    durations = json.loads((FOLDER / "durations.json").read_text())
    assert set(durations) == set(finished.fakes.keys)


def test_fresh_frames_have_answers_of_their_own(small, begin, fakes):
    begin(replace(small, order=[Item("student_fresh")])).run()
    *_, details = fakes.asked[-1]
    assert details["inputs"]["fresh"] == "rest"
    assert details["loss"].mean_weight == 1.0
    assert details["cache"] == FOLDER / "few/answers/fresh"


def test_a_killed_study_goes_on_where_it_was(small, begin, fakes, monkeypatch):
    network = fakes.network

    def killed(data, architecture, loss, optimisation, run, folder):
        if folder.name == "member-1":
            raise KeyboardInterrupt
        return network(data, architecture, loss, optimisation, run, folder)

    fakes.network = killed
    with pytest.raises(KeyboardInterrupt):
        begin(small).run()
    assert fakes.keys == ["few/joint/member-0"]
    fakes.network = network
    assert begin(small).run()
    assert fakes.keys == ["few/joint/member-0", "few/joint/member-1", "few/student/seed-0",
                          "few/control/seed-0"]  # fmt: skip


def test_a_training_that_diverges_costs_only_what_needs_it(small, begin, fakes):
    fakes.failing = {"member-1"}
    execution = begin(small)
    assert execution.run()
    member, student = "few/joint/member-1", "few/student/seed-0"
    assert execution.failed == {
        member: "The loss became nan at step 3.",
        "few/evaluation/single-1": f"needs {member}",
        student: f"needs {member}",
        "few/evaluation/student-0": f"needs {student}",
    }
    assert fakes.keys == ["few/joint/member-0", "few/control/seed-0"]


def test_two_processes_share_the_steps(small, begin, fakes, monkeypatch):
    first, second = begin(small), begin(small)
    slept = []

    def others_work(seconds):
        """The other process, which holds the lock of member 1 until here, finishes it."""
        slept.append(seconds)
        held.__exit__(None, None, None)
        assert second.run()

    held = second.lock("few/joint/member-1", wait=False)
    assert held.__enter__()
    with first.lock("few/joint/member-1", wait=False) as mine:
        assert not mine
    monkeypatch.setattr(module.time, "sleep", others_work)
    assert first.run()
    assert len(slept) == 1
    # Member 1 was the other's, and the student had to wait for it.
    assert fakes.keys == ["few/joint/member-0", "few/control/seed-0", "few/joint/member-1",
                          "few/student/seed-0"]  # fmt: skip
    assert all(first.done(step) for step in first.plan)


def test_no_step_begins_when_the_hours_are_over(small, begin, fakes, capsys):
    assert not begin(small).run(hours=-1)
    assert fakes.keys == []
    assert "give the command again to go on" in capsys.readouterr().out


def test_networks_of_other_settings_are_refused_before_anything_starts(small, begin):
    begin(small).run()
    changed = replace(small, regimes={"few": replace(small.regimes["few"], steps=11)})
    with pytest.raises(StudyError, match=r"few/joint/member-0 was .*run.steps: 10 → 11.*Delete"):
        begin(changed).prepare()
    begin(small).prepare()
    begin(replace(small, run=replace(small.run, threads=2))).prepare()  # which changes no network


def retrain_member(fakes, begin, study):
    """Delete member 0 and train another one, as with other packages or on another machine."""
    shutil.rmtree(FOLDER / "few/joint/member-0", ignore_errors=True)
    network = fakes.network
    fakes.network = lambda d, a, loss, o, run, folder: network(
        d, a, loss, o, replace(run, seed=run.seed + 50), folder
    )
    begin(study).run()
    fakes.network = network


def test_what_a_network_was_trained_from_must_be_what_lies_there(small, begin, fakes):
    begin(small).run()
    shutil.rmtree(FOLDER / "few/joint/member-0")
    with pytest.raises(StudyError, match=r"student/seed-0 was trained from another few/joint/mem"):
        begin(small).prepare()
    execution = begin(small)
    retrain_member(fakes, begin, small)
    student = {step.key: step for step in execution.plan}["few/student/seed-0"]
    assert not execution.done(student)
    with pytest.raises(StudyError, match=r"few/student/seed-0.*let --redo delete all of them"):
        begin(small).prepare()


def test_redo_trains_what_a_replaced_network_was_the_teacher_of(small, begin, fakes):
    begin(small).run()
    retrain_member(fakes, begin, small)
    del fakes.asked[:]
    execution = begin(small)
    execution.prepare(redo=True)
    assert execution.run()
    assert fakes.keys == ["few/student/seed-0"]
    begin(small).prepare()


def test_redo_deletes_what_was_trained_with_other_settings_and_what_learned_from_it(study, begin):
    order = [Item("single", seeds=2), Item("student"), Item("control")]
    study = replace(study, order=order, regimes={"few": study.regimes["few"]})
    begin(study).run()
    changed = replace(study, pretraining=replace(study.pretraining, steps=31))
    execution = begin(changed)
    with pytest.raises(StudyError, match=r"steps: 30 → 31\);.*0 was trained from pretraining;"):
        execution.prepare()
    execution.prepare(redo=True)
    assert not any((FOLDER / step.key).exists() for step in execution.plan)


def test_a_study_killed_between_a_network_and_its_pupils_goes_on_with_the_new_network(
    small, begin, fakes
):
    begin(small).run()
    del fakes.asked[:]
    retrain_member(fakes, begin, small)
    assert fakes.keys == ["few/joint/member-0"]  # and no student of the old one is called done


def test_trainings_on_other_copies_do_not_fit(small, begin):
    small = replace(small, copies=Copies(small.data.root, width=80, pretraining_drives=1))
    first = begin(small)
    first.prepare()
    first.run()
    shutil.rmtree(FOLDER / "data")
    wider = begin(replace(small, copies=replace(small.copies, width=96)))
    with pytest.raises(StudyError, match="member-0 was trained from another copy of the drives"):
        wider.prepare()


def test_a_training_that_diverged_is_not_tried_by_the_next_process(small, begin, fakes):
    fakes.failing = {"member-1"}
    begin(small).run()
    fakes.failing = set()
    del fakes.asked[:]
    again = begin(small)
    again.prepare()
    assert again.run()
    assert again.failed["few/joint/member-1"] == "The loss became nan at step 3."
    assert fakes.keys == []
    again = begin(small)
    again.prepare(retry=True)
    assert again.run()
    assert again.failed == {}
    assert fakes.keys == ["few/joint/member-1", "few/student/seed-0"]


def test_weights_trained_anew_are_scored_anew(small, begin, fakes):
    begin(small).run()
    (FOLDER / "few/control/seed-0/last.safetensors").unlink()
    told = []
    fakes.control = lambda d, a, loss, o, run, folder, inputs: fakes.network(
        d, a, loss, o, replace(run, seed=77), folder
    )
    begin(small).run(scored=lambda scoring: told.append(scoring.key))
    assert told == ["few/evaluation/control-0"]


def test_a_training_that_leaves_no_weights_is_an_error(small, begin, fakes):
    fakes.network = lambda *_: None
    with pytest.raises(StudyError, match="few/joint/member-0 has no weights after its training"):
        begin(small).run()
