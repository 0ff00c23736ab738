"""Run a whole study: train every row of the paper's tables, score it, write tables and plots.

    python training/study.py --config training/configs/study.yaml --plan       # what, and how long
    python training/study.py --config training/configs/study.yaml              # kill it, go on
    python training/study.py --config training/configs/study.yaml --hours 2.4
    python training/study.py --config training/configs/study.yaml --report --docs docs

On two CPU cores start it twice with --run.threads 1: each does what the other does not. On several
GPUs start a process for each, CUDA_VISIBLE_DEVICES=0 python training/study.py …, 1, 2 and so on.

The most valuable rows come first. What is done is skipped, a training that was killed goes on from
its last checkpoint, and tables are written with what is there. Networks of other settings, or
whose teacher or start was trained anew, are refused: --redo deletes them. A training that diverged
is left out, with all that needs it, until --retry or until its failed.json is deleted.

Leaves in runs/NAME:

    REGIME/joint/member-K, REGIME/student/seed-K, …    every network, as train_teacher.py leaves it
    REGIME/evaluation/SPLIT/ROW-SEED.npz               its scores, drive by drive
    timing.json, durations.json, costs.json            times per image, of trainings, of steps
    study.json, study.csv, study.md, plots/            the results so far
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import jsonargparse

from emu_core.study.config import Study
from emu_core.study.execution import TRAINERS, Execution, Trainers
from emu_core.study.plan import make_plan
from emu_core.study.session import announce, report, take_times, work
from emu_core.training.command import HelpFormatter, run_command


def carry_out(arguments: list[str] | None = None, trainers: Trainers = TRAINERS) -> None:
    """Do what the command line says."""
    parser = jsonargparse.ArgumentParser(
        description=__doc__,
        usage="study.py --config FILE [--plan | --report] [--hours H] [--docs FOLDER] "
        "[--redo] [--retry] [--KEY X]",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--config", action="config", help="YAML of the study")
    parser.add_class_arguments(Study)
    parser.add_argument("--plan", action="store_true", help="print it with its hours, and stop")
    parser.add_argument("--report", action="store_true", help="write tables and plots, and stop")
    parser.add_argument(
        "--redo", action="store_true",
        help="delete networks that were trained with other settings or from other networks",
    )  # fmt: skip
    parser.add_argument("--retry", action="store_true", help="try again what diverged")
    parser.add_argument("--hours", type=float, help="begin no step after so many")
    parser.add_argument("--docs", type=Path, help="folder that gets the results as well")
    options = parser.instantiate(parser.parse_args(arguments))
    study = Study(**{field.name: options[field.name] for field in fields(Study)})
    given = sys.argv[1:] if arguments is None else arguments
    execution = Execution(study, make_plan(study), trainers, given)
    execution.prepare(options.redo, options.retry)
    if not options.report:
        announce(execution)
        if options.plan:
            return
        work(execution, options.hours)
    take_times(execution)
    report(execution, options.docs)
    execution.raise_failures()


def main(arguments: list[str] | None = None, trainers: Trainers = TRAINERS) -> int:
    """Command line."""
    return run_command("study", lambda: carry_out(arguments, trainers))


if __name__ == "__main__":
    sys.exit(main())
