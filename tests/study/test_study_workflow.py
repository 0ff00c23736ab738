"""`training/study.py` with the real Snakemake, on trainings of a few steps."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from emu_core.files import locked
from emu_core.study import workflow
from emu_core.study.config import Study
from emu_core.study.jobs import StudyError
from emu_core.study.plan import make_plan
from emu_core.study.workflow import failures, jobs_left, plan_text, prepare
from emu_core.training.callbacks import read_checkpoint
from emu_core.training.command import parse_config

SCRIPT = Path(__file__).parents[2] / "training" / "study.py"
FOLDER = Path("runs/tiny")
STEPS = 12

needs_snakemake = pytest.mark.skipif(
    find_spec("snakemake") is None, reason="Snakemake is missing; it needs Python 3.11"
)

CONFIG = {
    "name": "tiny",
    "members": 2,
    "resamples": 20,
    "data": {
        "root": "data/drives",
        "batch": 1,
        "workers": 0,
        "augmentation": {"height": 32, "width": 64, "canonical_focal": 100.0},
    },
    "architecture": {"depth_mean": 11.0, "depth_std": 5.0},
    "optimisation": {"learning_rate": 0.001},
    "run": {"threads": 1, "precision": "32-true", "ema": 0.0, "checkpoint_every": 1},
    "regimes": {"few": {"steps": STEPS, "limit": 2}},
    "splits": {"in_domain": "test"},
    "order": [{"method": "single", "seeds": 2}, {"method": "de"}],
}
OUTPUTS = [
    *(f"few/joint/member-{k}/last.safetensors" for k in range(2)),
    *(f"few/evaluation/{name}.json" for name in ("single-0", "single-1", "de-0")),
    "timing.json",
]


def study_command(*arguments, folder="."):
    command = [sys.executable, str(SCRIPT), "--config", "study.yaml", *arguments]
    return subprocess.run(
        command, cwd=folder, check=False, capture_output=True, text=True, timeout=600
    )


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def kill_tree(process):
    """Kill a process that this test started, and all that it has started, as a power cut does."""
    import psutil

    every = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for each in every:
        with suppress(psutil.Error):
            each.kill()
    process.wait()


def job_process(process, key):
    """The Python process of a job, below the process that this test started."""
    import psutil

    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            arguments = child.cmdline()
            if arguments[-1:] == [key] and "emu_core.study.jobs" in arguments:
                return child
    return None


@pytest.fixture(scope="module")
def finished(tmp_path_factory, write_drive):
    """A study of which a job was killed, then everything; it was then started again."""
    folder = tmp_path_factory.mktemp("study")
    for split, drive in (("train", 0), ("train", 1), ("val", 0), ("test", 0)):
        write_drive(folder / "data/drives", split, f"{split}300{drive}_000000_000000", drive)
    (folder / "study.yaml").write_text(yaml.safe_dump(CONFIG))
    members = [folder / FOLDER / f"few/joint/member-{k}" for k in range(2)]
    command = [sys.executable, str(SCRIPT), "--config", "study.yaml", "--jobs", "2"]
    with (folder / "first.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        keys = [f"few/joint/member-{k}" for k in range(2)]
        wait_for(lambda: all(job_process(process, key) for key in keys))  # at the same time
        wait_for((members[0] / "last.ckpt").is_file)
        job_process(process, keys[0]).kill()
        wait_for(lambda: job_process(process, "few/evaluation/single-1"))
    finally:
        kill_tree(process)
    killed_at = read_checkpoint(members[0] / "last.ckpt")["global_step"]
    is_there = (members[0] / "last.safetensors").is_file()
    written = (members[1] / "last.safetensors").stat().st_mtime_ns
    again = study_command("--jobs", "2", "--docs", "docs", folder=folder)
    return SimpleNamespace(
        folder=folder,
        killed_at=killed_at,
        unfinished=not is_there,
        written=written,
        again=again,
    )


@needs_snakemake
def test_a_killed_study_goes_on_from_the_checkpoint_and_runs_no_finished_job_again(finished):
    assert finished.unfinished
    assert 0 < finished.killed_at < STEPS
    assert finished.again.returncode == 0, finished.again.stderr
    study = finished.folder / FOLDER
    assert all((study / output).is_file() for output in OUTPUTS)
    log = (study / "logs/few/joint/member-0.log").read_text()
    assert f"has {finished.killed_at} of {STEPS} steps" in log
    weights = study / "few/joint/member-1/last.safetensors"
    assert weights.stat().st_mtime_ns == finished.written
    assert "few/joint/member-1" not in finished.again.stdout
    assert "few/joint/member-0\n" in finished.again.stdout


@needs_snakemake
def test_a_finished_study_leaves_tables_and_plots(finished):
    report, docs = finished.folder / FOLDER / "report", finished.folder / "docs"
    assert "| single network (2) |" in (report / "tables.md").read_text()
    assert not (docs / "tables.md").exists(), "it is large"
    for folder in (report, docs):
        assert "| few | in_domain | Deep Ensemble |" in (folder / "summary.md").read_text()
        assert (folder / "few_reliability.png").is_file()


def left(*options):
    """Outputs of the jobs that are left of the study in the working folder."""
    study = parse_config(Study, ["--config", "study.yaml", *options], "")
    prepare(study, make_plan(study))
    return jobs_left(study, SCRIPT.with_name("Snakefile"))


@needs_snakemake
def test_only_settings_that_change_the_weights_ask_for_new_trainings(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    assert left("--data.cache", "cache", "--run.checkpoint_every", "5") == set()
    with pytest.raises(StudyError, match=r"learning_rate: 0.001 → 0.002\).*let --redo delete all"):
        left("--optimisation.learning_rate", "2e-3")


@needs_snakemake
def test_weights_that_were_trained_again_are_scored_again(finished, tmp_path, monkeypatch):
    shutil.copytree(finished.folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    first, second = (FOLDER / f"few/joint/member-{k}/last.safetensors" for k in range(2))
    second.write_bytes(second.read_bytes())  # newer, but the same
    assert left() == set()
    second.write_bytes(first.read_bytes())
    scorings = {f"few/evaluation/{name}.json" for name in ("single-1", "de-0")}
    assert left() == {*scorings, "timing.json"}


def test_failed_trainings_and_what_needs_them_are_no_targets_until_retry(small):
    plan = make_plan(small)
    failed = small.folder / "few/joint/member-1/failed.json"
    failed.parent.mkdir(parents=True)
    failed.write_text('{"reason": "The loss became nan at step 3."}')
    prepare(small, plan)
    content = json.loads((small.folder / "plan.json").read_text())
    left_out = {job.output for job in plan} - set(content["targets"])
    student = {"few/student/seed-0/last.safetensors", "few/evaluation/student-0.json"}
    member = {"few/joint/member-1/last.safetensors", "few/evaluation/single-1.json"}
    assert left_out == student | member
    timing = content["jobs"][-1]
    assert timing["input"] == [f"few/evaluation/{name}-0.json" for name in ("single", "control")]
    assert failures(small.folder, plan) == {"few/joint/member-1": "The loss became nan at step 3."}
    prepare(small, plan, retry=True)
    content = json.loads((small.folder / "plan.json").read_text())
    assert len(content["targets"]) == len(plan)


@needs_snakemake
def test_every_failed_job_is_named_with_the_last_line_of_its_log(small, drives, monkeypatch):
    plan = make_plan(small)
    logs = {"few/joint/member-0": "study: No folder data.\n", "few/control/seed-0": "Killed"}
    earlier = small.folder / "logs/few/student/seed-0.log"  # of an earlier run
    earlier.parent.mkdir(parents=True)
    earlier.write_text("Killed")

    def fail(*_):
        for key, text in logs.items():
            path = small.folder / "logs" / f"{key}.log"
            path.parent.mkdir(parents=True)
            path.write_text(f"some progress\n{text}")
            os.utime(path, (0, 0))  # a clock that is behind: of a file server, or a coarse one
        return 1

    monkeypatch.setattr(workflow, "_wait", fail)
    failed = workflow.run(small, plan, SCRIPT.with_name("Snakefile"))
    assert failed == {
        "few/joint/member-0": "No folder data. (runs/tiny/logs/few/joint/member-0.log)",
        "few/control/seed-0": "Killed (runs/tiny/logs/few/control/seed-0.log)",
    }
    assert workflow.failure_text(failed).startswith("2 jobs failed: few/joint/member-0: No folder")


def test_redo_deletes_trainings_with_other_settings(small, drives, trained, run_all):
    run_all(small)
    rate = replace(small.optimisation, learning_rate=1.0)
    changed = replace(small, optimisation=rate)
    with pytest.raises(StudyError, match=r"learning_rate.*let --redo delete all of them"):
        prepare(changed, make_plan(changed))
    prepare(changed, make_plan(changed), redo=True)
    assert not any((FOLDER / "few").glob("*/*/last.safetensors"))


def test_a_study_at_work_is_neither_changed_nor_hidden(small):
    prepare(small, make_plan(small))
    with locked(small.folder / workflow.LOCK):
        prepare(small, make_plan(small))  # --plan still works
        changed = replace(small, samples=3)
        with pytest.raises(StudyError, match="Another process is at work"):
            prepare(changed, make_plan(changed))


def test_the_plan_names_hours_as_far_as_they_were_measured(small):
    plan = make_plan(small)
    times = small.folder / "benchmarks/few/joint"
    times.mkdir(parents=True)
    for k, seconds in enumerate((3600, 36)):  # the second one was resumed
        (times / f"member-{k}.tsv").write_text(f"s\th:m:s\n{seconds}\t0\n")
    text = plan_text(small, plan, {job.output for job in plan})
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.split()}
    assert lines["few/joint"] == ["2", "2", "1.00", "2.00"]
    assert lines["few/student"] == ["1", "1", "not", "measured", "yet"]
    assert text.endswith(
        "9 of 9 jobs are left: 2.00 h for one job at a time, and 7 jobs that are not measured yet"
    )


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"order": [{"method": "best"}]}, [], "Expected a method of a study of single"),
        ({}, ["--only", "few/best"], "--only names no job of the study: few/best"),
    ],
)
def test_what_is_wrong_ends_with_one_clear_message(tmp_path, change, arguments, message):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(CONFIG | change))
    done = study_command(*arguments, folder=tmp_path)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_snakemake_one_line_says_what_to_install(small, monkeypatch):
    monkeypatch.setattr(workflow, "find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"pip install 'emu_core\[study\]'"):
        workflow.run(small, make_plan(small), SCRIPT.with_name("Snakefile"))


def test_after_the_given_hours_snakemake_may_finish_the_running_jobs(capsys):
    graceful = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); "
    command = [sys.executable, "-c", graceful + "signal.pause()"]
    assert workflow._wait(command, 1 / 3600) == workflow._STOPPED
    assert "no other job is started" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_jobs_too(tmp_path, number):
    job = "import os, signal\nwith open('pid', 'w') as f: f.write(f'{os.getpid()} ')\n"
    (tmp_path / "job.py").write_text(f"{job}signal.pause()\n")
    engine = "import subprocess, sys\nsubprocess.run([sys.executable, 'job.py'])\n"
    (tmp_path / "engine.py").write_text(engine)
    (tmp_path / "study.py").write_text(
        "import sys\n"
        "from emu_core.study.workflow import _wait\n"
        "from emu_core.training.command import run_command\n"
        "engine = [sys.executable, 'engine.py']\n"
        "sys.exit(run_command('study', lambda: _wait(engine, None)))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "study.py"],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        # Background processes of a shell ignore Ctrl-C, and so do their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    written = tmp_path / "pid"
    wait_for(lambda: written.is_file() and written.read_text().endswith(" "))
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    job_folder = Path("/proc", written.read_text().strip())
    wait_for(lambda: not job_folder.exists() or "Z (zombie)" in state_of(job_folder), 30)


def state_of(process):
    """The state of a process in /proc; a child of a process that has ended may stay a zombie."""
    try:
        return (process / "status").read_text()
    except OSError:
        return "Z (zombie)"
