"""`training/study.py` as a researcher types it; the networks are made instead of trained.

1. A plan is printed with its hours; nothing is trained.
2. A study that is killed in a training goes on, and writes tables and plots.
3. What is wrong ends with one clear message.
"""

import csv
import importlib.util
import json
import signal
import subprocess
import sys
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path

import jsonargparse
import pytest
import yaml

from emu_core.study.config import Study
from emu_core.study.plan import Training, make_plan

SCRIPT = Path(__file__).parents[2] / "training" / "study.py"
CONFIGS = SCRIPT.parent / "configs"

CONFIG = {
    "name": "tiny",
    "members": 2,
    "samples": 2,
    "resamples": 20,
    "data": {
        "root": "data/drives", "batch": 2, "workers": 0,
        "augmentation": {"height": 32, "width": 64, "canonical_focal": 100.0},
    },
    "architecture": {"depth_mean": 11.0, "depth_std": 5.0},
    "optimisation": {"learning_rate": 0.001},
    "run": {"threads": 1},
    "regimes": {"few": {"steps": 10, "limit": 2}},
    "splits": {"in_domain": "test", "haze": "haze"},
    "order": [
        {"row": "single", "seeds": 2}, {"row": "de"}, {"row": "student"}, {"row": "control"},
        {"row": "single", "seeds": 2, "apart": True},
    ],
    "seconds_per_image": dict.fromkeys(
        ("joint", "segmentation", "depth", "heads", "forward", "metrics", "load"), 36.0),
}  # fmt: skip


@pytest.fixture
def run(fakes):
    """Function that runs the command with these arguments."""
    spec = importlib.util.spec_from_file_location("study_command", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda arguments: module.main(arguments, fakes.trainers())


@pytest.fixture
def config(drives):
    path = Path("study.yaml")
    path.write_text(yaml.safe_dump(CONFIG))
    return ["--config", str(path)]


def test_the_plan_says_what_would_be_done_and_for_how_long(run, config, fakes, capsys):
    assert run([*config, "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # Two networks of 10 steps of 2 images, each 36 s of training and 36 s of loading.
    assert lines[1].split() == ["train", "few/joint", "2", "0", *["0.80"] * 3]
    assert lines[-1].startswith("runs/tiny: 0 of 15 steps are done; for one process some")
    assert fakes.keys == []


KILLED = """
import os, signal, sys
sys.path[:0] = [{tests!r}, {training!r}]
import conftest, study
fakes = conftest.Fakes()
network = fakes.network

def killed(data, architecture, loss, optimisation, run, folder):
    if folder.name == "member-1":
        os.kill(os.getpid(), signal.SIGKILL)
    network(data, architecture, loss, optimisation, run, folder)

fakes.network = killed
study.main({arguments!r}, fakes.trainers())
"""


def test_a_killed_study_goes_on_and_tells_what_it_found(run, config, fakes):
    code = KILLED.format(
        tests=str(Path(__file__).parent), training=str(SCRIPT.parent), arguments=config
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    partial = json.loads(Path("runs/tiny/study.json").read_text())
    assert set(partial["few"]["haze"]) == {"single"}
    assert partial["few"]["haze"]["single"]["seeds"] == 1

    assert run([*config, "--docs", "docs"]) == 0
    assert "few/joint/member-0" not in fakes.keys
    assert "few/joint/member-1" in fakes.keys
    content = json.loads(Path("docs/study.json").read_text())
    assert set(content["few"]["haze"]) == {"single", "de", "student", "control"}
    assert content["few"]["in_domain"]["single"]["seeds"] == 2
    assert content["few"]["in_domain"]["student"]["ms_per_image"]["mean"] > 0
    assert content["about"]["done"] == content["about"]["steps"] == 15
    text = Path("docs/study.md").read_text()
    assert "| student (1) |" in text
    assert "    python training/study.py --config study.yaml --report --docs docs\n" in text
    assert "Seeds: members 0…1; students and controls 100." in text
    assert f"torch {version('torch')}" in text
    assert "![few_reliability](study/few_reliability.png)" in text
    assert Path("docs/study/few_reliability.png").is_file()
    with Path("docs/study.csv").open() as file:
        methods = {row["method"] for row in csv.DictReader(file)}
    assert methods == {"single", "de", "student", "control", "apart-single"}


def test_a_training_that_diverged_is_named_at_the_end(run, config, fakes, capsys):
    fakes.failing = {"seed-0"}
    assert run(config) == 1
    error = capsys.readouterr().err
    assert "study: 4 steps could not be done: few/student/seed-0: The loss became nan" in error
    content = json.loads(Path("runs/tiny/study.json").read_text())
    assert set(content["few"]["haze"]) == {"single", "de"}


def test_a_report_needs_no_training(run, config, fakes):
    assert run([*config, "--report"]) == 0
    assert fakes.keys == []
    assert json.loads(Path("runs/tiny/study.json").read_text())["few"] == {
        "in_domain": {}, "haze": {},
    }  # fmt: skip
    assert "| single network | – |" not in Path("runs/tiny/study.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": [{"row": "best"}]}, "row best: expected row of single"),
        ({"seconds_per_image": {"joint": 1.0}}, "seconds_per_image lacks segmentation"),
        ({"splits": {"in_domain": "test", "haze": "fog"}}, "leftImg8bit/fog"),
    ],
)
def test_what_is_wrong_ends_with_one_clear_message(run, config, fakes, capsys, change, message):
    Path("study.yaml").write_text(yaml.safe_dump(CONFIG | change))
    assert run(config) == 1
    error = capsys.readouterr().err
    assert error.startswith("study: ")
    assert message in error
    assert fakes.keys == []


def read(*configs, options=()):
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(Study)
    arguments = [part for name in configs for part in ("--config", str(CONFIGS / name))]
    options = parser.instantiate(parser.parse_args([*arguments, *options]))
    return Study(**{field.name: options[field.name] for field in fields(Study)})


def seeds_of(study):
    """How many seeds each row gets: (regime, row, apart) → number."""
    seeds = {}
    for item in study.order:
        for regime in item.regimes or study.regimes:
            key = (regime, item.row, item.apart)
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
def test_the_shipped_configurations_have_every_row_of_the_papers_tables(configs, regimes):
    study = read(*configs)
    seeds = seeds_of(study)
    assert set(study.regimes) == regimes
    assert study.members >= 5
    for regime in regimes:
        for row in ("single", "mcd20", "mcd50", "dse", "de"):
            assert (regime, row, False) in seeds
            assert (regime, row, True) in seeds
        for row in ("student", "control"):
            assert seeds[regime, row, False] >= 3
        assert min(seeds[regime, "single", apart] for apart in (False, True)) >= 5
    for loss in ("l1", "rmsle", "beta"):
        assert any((regime, f"single_{loss}", False) in seeds for regime in regimes)
        for row in ("student", "control"):
            assert any((regime, f"{row}_{loss}", False) in seeds for regime in regimes)
    for row in ("student_novar", "student_logvar"):
        assert any((regime, row, False) in seeds for regime in regimes)
    assert make_plan(study)


def test_the_study_on_drives_has_few_frames_fresh_ones_and_all_splits():
    study = read("study.yaml")
    assert study.regimes["few"].limit <= 300
    assert ("few", "student_fresh", False) in seeds_of(study)
    assert set(study.splits) == {"in_domain", "haze", "night", "unknown"}
    assert study.copies is not None
    assert study.pretraining is not None
    # Every row is scored on every split, and with fresh frames a quarter still has labels.
    assert all(item.splits is None for item in study.order)
    labelled = study.regimes["few"].limit
    assert labelled / (labelled + study.distilling.fresh_limit) == 0.25
    assert study.distilling.variants == 32


def test_pilots_are_small_and_take_the_studys_overrides():
    study = read("study_pilot.yaml")
    whole = read("study.yaml")
    assert study.data.root == whole.folder / "data/drives"
    assert study.pretraining.root == whole.folder / "data/pretraining"
    assert replace(study.data, root=whole.data.root) == whole.data
    assert study.optimisation == whole.optimisation
    steps = [step for step in make_plan(study) if isinstance(step, Training)]
    assert len(steps) == 1 + 3 + 2 + 2
    # 0.09 s for each image of a training pass, 0.02 s for each answer of a member (machine.md).
    answers = 3 * 16 * 32  # of each frame's variants, once
    assert sum(t.images for t in steps) * 0.09 + answers * 0.02 < 45 * 60

    options = ["--name", "other", "--pretraining.task", "segmentation"]
    options += ["--pretraining.sequences", "12", "--optimisation.learning_rate", "5e-4"]
    other = read("study_pilot.yaml", options=options)
    assert other.folder == Path("runs/other")
    assert other.pretraining == replace(study.pretraining, task="segmentation", sequences=12)
    assert other.optimisation == replace(study.optimisation, learning_rate=5e-4)
    pretraining, *_ = make_plan(other)
    assert pretraining.data.sequences == 12
