"""Run the plan of a study with Snakemake, and list the jobs that are left.

`prepare` writes the study's configuration and its jobs into the study's folder, where
training/Snakefile makes one rule of each job.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from emu_core.files import locked, read_json, write_json, write_text
from emu_core.study.config import Study
from emu_core.study.jobs import FAILURE, SETTINGS, StudyError, changed_settings, check_inputs
from emu_core.study.plan import TIMING, Job
from emu_core.terminal import signals_deferred
from emu_core.training.config import plain

PLAN = "plan.json"
"""All jobs, for training/Snakefile."""

LOCK = "study.lock"
"""Held while Snakemake runs."""

_STOPPED = -1  # status of Snakemake after the given hours


def prepare(study: Study, plan: Sequence[Job], redo: bool = False, retry: bool = False) -> None:
    """Check the content of the study's folder, and write configuration and plan into it.

    Args:
        study: Its configuration.
        plan: All jobs.
        redo: Delete trainings with other settings; what depends on them is trained again.
        retry: Run trainings again that diverged.

    Raises:
        StudyError: The folder holds trainings with other settings, or another process is at work
            in it with other settings.
    """
    folder = study.folder
    settings = yaml.safe_dump(plain(study), sort_keys=False, allow_unicode=True)
    with locked(folder / LOCK, wait=False) as mine:
        if mine:
            _check_settings(folder, plan, redo)
            failed = {} if retry else failures(folder, plan)
            write_text(folder / SETTINGS, settings)
            write_json(folder / PLAN, _content(study, plan, failed))
        elif (
            not (folder / SETTINGS).is_file()
            or (folder / SETTINGS).read_text(encoding="utf-8") != settings
        ):
            raise StudyError(
                f"Another process is at work on {folder} with other settings: wait for it, or "
                "stop it first."
            )


def _check_settings(folder: Path, plan: Sequence[Job], redo: bool) -> None:
    """Refuse or delete trainings with other settings."""
    reasons = {job.key: changed_settings(job, folder) for job in plan}
    changed = {folder / key: reason for key, reason in reasons.items() if reason}
    if changed and not redo:
        named = [f"{path} {reason}" for path, reason in changed.items()][:8]
        more = f"; and {len(changed) - len(named)} more" if len(changed) > len(named) else ""
        raise StudyError(
            f"{'; '.join(named)}{more}. Delete these folders to train them again, or let --redo "
            "delete all of them, or give the study another name."
        )
    for path, reason in changed.items():
        print(f"{path} {reason}: deleted", flush=True)
        shutil.rmtree(path)


def failures(folder: Path, plan: Sequence[Job]) -> dict[str, str]:
    """Return the trainings that diverged, with the reasons."""
    records = {job.key: read_json(folder / job.key / FAILURE) for job in plan}
    return {key: record["reason"] for key, record in records.items() if record}


def _content(study: Study, plan: Sequence[Job], failed: Mapping[str, str]) -> dict[str, Any]:
    """The plan for training/Snakefile, without failed trainings and jobs that need them."""
    outputs, left_out, jobs = {job.key: job.output for job in plan}, set(failed), []
    for job in plan:
        needs: Sequence[str] = job.needs
        if job.key == TIMING:  # times are taken of all other methods
            needs = [key for key in needs if key not in left_out]
        if left_out.intersection(needs) or (job.needs and not needs):
            left_out.add(job.key)
        content = {"key": job.key, "input": [outputs[key] for key in needs], "output": job.output}
        jobs.append({**content, "settings": json.dumps(job.settings, sort_keys=True)})
    return {
        "root": os.path.relpath(Path(), study.folder),
        "folder": str(study.folder),
        "python": sys.executable,
        "threads": max(study.run.threads, 1),
        "jobs": jobs,
        "targets": [output for key, output in outputs.items() if key not in left_out],
    }


def run(
    study: Study,
    plan: Sequence[Job],
    snakefile: Path,
    only: Sequence[str] = (),
    jobs: int = 1,
    hours: float | None = None,
    profile: Path | None = None,
) -> dict[str, str]:
    """Run all jobs that are left.

    Args:
        study: Its configuration; `prepare` has written its plan.
        plan: All jobs.
        snakefile: training/Snakefile.
        only: Keys of jobs; only these and the jobs that they need are run.
        jobs: Number of jobs that run at once.
        hours: Start no job after this time.
        profile: Folder of a Snakemake profile, e.g. for a cluster.

    Returns:
        Key of every job that failed, now or before → reason.

    Raises:
        DataError, OSError: See `check_inputs`.
        StudyError: There is no such job, or Snakemake is not installed, or it does not accept the
            plan or the profile.
    """
    outputs = {job.key: job.output for job in plan}
    if unknown := [key for key in only if key not in outputs]:
        raise StudyError(f"--only names no job of the study: {', '.join(unknown)}.")
    options = ["--cores", str(jobs * max(study.run.threads, 1))]
    if profile is not None:
        options = ["--jobs", str(jobs), "--profile", str(profile.resolve())]
    command = _command(study, snakefile, *options, *(outputs[k] for k in only))
    check_inputs(study, plan)
    before = _logs(study.folder, plan)
    status = _wait(command, hours)
    failed = failures(study.folder, plan)
    written = _logs(study.folder, plan).items() - before.items() if status else set()
    for key in (job.key for job in plan if job.key in dict(written)):
        if not (study.folder / outputs[key]).is_file():
            log = _log(study.folder, key)
            last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
            failed.setdefault(key, f"{last.removeprefix('study: ')} ({log})")
    if status not in (0, _STOPPED) and not failed:
        raise StudyError(f"Snakemake ended with status {status}: see its messages above.")
    return failed


def _log(folder: Path, key: str) -> Path:
    """Return the file that training/Snakefile writes a job's output to."""
    return folder / "logs" / f"{key}.log"


def _logs(folder: Path, plan: Sequence[Job]) -> dict[str, tuple[int, int]]:
    """Return time and size of every log: where they differ later, the log was written again.

    The times are not compared with `time.time()`: the clock of the files may be some ms behind.
    """
    files = {job.key: _log(folder, job.key) for job in plan}
    stats = {key: file.stat() for key, file in files.items() if file.is_file()}
    return {key: (stat.st_mtime_ns, stat.st_size) for key, stat in stats.items()}


def _command(study: Study, snakefile: Path, *options: str) -> list[str]:
    if find_spec("snakemake") is None:
        raise StudyError(
            "A study runs on Snakemake, which is not installed: with Python 3.11 or newer, "
            "pip install 'emu_core[study]'."
        )
    place = ["--snakefile", str(snakefile.resolve()), "--directory", str(study.folder)]
    return [sys.executable, "-m", "snakemake", *place, *options]


def _wait(command: Sequence[str], hours: float | None) -> int:
    """Run Snakemake; after so many hours let it finish the jobs that are running.

    SIGINT (Ctrl-C) and SIGTERM stop the running jobs, too.
    """
    process = None
    try:
        with signals_deferred():
            process = subprocess.Popen(command, start_new_session=True)
        return _wait_at_most(process, hours)
    except (KeyboardInterrupt, SystemExit) as error:
        if process is not None:
            # On a cluster, Snakemake takes its jobs back after SIGINT only.
            number = signal.SIGTERM if isinstance(error, SystemExit) else signal.SIGINT
            os.killpg(process.pid, number)
            process.wait()
        raise


def _wait_at_most(process: subprocess.Popen, hours: float | None) -> int:
    try:
        return process.wait(None if hours is None else 3600 * hours)
    except subprocess.TimeoutExpired:
        print(f"{hours:g} h are over: no other job is started", flush=True)
        process.terminate()
        process.wait()
        return _STOPPED


def failure_text(failed: Mapping[str, str]) -> str:
    """Name every job that failed."""
    reasons = "; ".join(f"{key}: {reason.rstrip('.')}" for key, reason in failed.items())
    return (
        f"{len(failed)} jobs failed: {reasons}. The jobs that need them were not run. Give the "
        "command again to go on; with --retry it also runs trainings again that diverged."
    )


def jobs_left(study: Study, snakefile: Path) -> set[str]:
    """Return the outputs of the jobs that Snakemake would run.

    Raises:
        StudyError: Snakemake is not installed, or cannot read the plan.
    """
    command = _command(study, snakefile, "--summary")
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise StudyError(f"Snakemake cannot read the plan: {done.stderr.strip()}")
    summary = pd.read_csv(io.StringIO(done.stdout), sep="\t")
    return set(summary.output_file[summary.plan == "update pending"])


def plan_text(study: Study, plan: Sequence[Job], left: set[str]) -> str:
    """Say for each kind of job how many are left, and the hours that they take.

    `left` are the outputs of the jobs that are left.
    """
    rows = []
    for job in plan:
        benchmark = study.folder / "benchmarks" / f"{job.key}.tsv"
        seconds = pd.read_csv(benchmark, sep="\t").s.max() if benchmark.is_file() else None
        kind = re.sub(r"[/-](member-|seed-)?\d+$", "", job.key)
        rows.append({"": kind, "jobs": 1, "left": job.output in left, "hours each": seconds})
    # Of a training that was resumed only the last part was measured: the longest one counts.
    sums = {"jobs": "sum", "left": "sum", "hours each": "max"}
    kinds = pd.DataFrame(rows).groupby("", sort=False).agg(sums)
    each = kinds["hours each"].astype(float) / 3600
    total, unknown = each * kinds.left, int(kinds.left[each.isna()].sum())
    kinds["hours each"] = each.map("{:.2f}".format).where(each.notna(), "not measured yet")
    kinds["hours left"] = total.map("{:.2f}".format).where(each.notna(), "")
    more = f", and {unknown} jobs that are not measured yet" if unknown else ""
    hours = f"{total.sum():.2f} h for one job at a time{more}"
    if each.isna().all():
        hours = "none was measured yet, so their hours are unknown"
    return (
        f"{kinds.to_string()}\n{study.folder}: {kinds.left.sum()} of {len(plan)} jobs are left: "
        f"{hours}"
    )
