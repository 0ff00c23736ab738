"""A study with real trainings of two steps: what it asks of them is what they take.

1. Pre-training on its own drives, two members, a sub-ensemble's head, student and control.
2. A student on fresh frames.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from emu_core.networks import load_model
from emu_core.study.config import Copies, Distilling, Item, Pretraining, Regime
from emu_core.study.execution import Execution
from emu_core.study.plan import make_plan
from emu_core.study.session import report, work


@pytest.fixture
def real(study, drives):
    rows = [Item("single", seeds=2), Item("student"), Item("control"), Item("dse"),
            Item("student_fresh")]  # fmt: skip
    return replace(
        study,
        data=replace(study.data, batch=1),
        run=replace(study.run, precision="32-true", ema=0.0, checkpoint_every=2),
        regimes={"few": Regime(steps=2, limit=1)},
        splits={"in_domain": "test"},
        order=rows,
        copies=Copies(study.data.root, width=80, pretraining_drives=1),
        pretraining=Pretraining(steps=2),
        distilling=Distilling(variants=2),
    )


@pytest.mark.filterwarnings("ignore")  # Lightning's, which the commands silence
def test_every_kind_of_training_is_what_the_plan_says(real):
    execution = Execution(real, make_plan(real))
    execution.prepare()
    work(execution)
    assert execution.failed == {}
    assert all(execution.done(step) for step in execution.plan)
    report(execution)
    rows = json.loads(Path("runs/tiny/study.json").read_text())["few"]["in_domain"]
    assert set(rows) == {"single", "control", "dse", "student", "student_fresh"}

    folder = Path("runs/tiny/few")
    metadata = {
        name: load_model(folder / name / "last.safetensors")[1]
        for name in ("joint/member-1", "student/seed-0", "control/seed-0", "student_fresh/seed-0")
    }
    assert {name: m["steps"] for name, m in metadata.items()} == dict.fromkeys(metadata, 2)
    # One labelled frame in two variants; of two epochs over it and a fresh one, up to four.
    assert len(list((folder / "answers" / "labelled").iterdir())) == 2
    assert 2 <= len(list((folder / "answers" / "fresh").iterdir())) <= 4
