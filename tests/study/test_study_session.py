"""When a study takes times: while nothing else of it runs."""

import pytest

from emu_core.study import session
from emu_core.study.execution import Execution
from emu_core.study.plan import Scoring, make_plan


@pytest.fixture
def execution(small, drives, monkeypatch):
    """A study of which one row is scored, and which remembers what it would time."""
    execution = Execution(small, make_plan(small))
    scorings = [step for step in execution.plan if isinstance(step, Scoring)]
    monkeypatch.setattr(execution, "done", lambda step: step is scorings[0])
    execution.left = [step for step in execution.plan if step is not scorings[0]]
    execution.timed = []

    def take(candidates, *_):
        with execution.lock(execution.left[0].key, wait=False) as free:
            assert not free  # no other process can begin a step
        execution.timed += [candidate.name for candidate in candidates]

    monkeypatch.setattr(session, "time_missing", take)
    return execution


def test_no_step_begins_while_times_are_taken(execution):
    session.take_times(execution)
    assert execution.timed == ["single"]
    with execution.lock(execution.left[0].key, wait=False) as free:
        assert free


def test_no_times_are_taken_while_another_process_is_at_a_step(execution, capsys):
    step = execution.left[-1]
    with execution.lock(step.key):
        session.take_times(execution)
    assert not execution.timed
    assert f"no times taken while another process is at {step.key}" in capsys.readouterr().out
    session.take_times(execution)
    assert execution.timed == ["single"]
