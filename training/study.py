"""Run a whole study: train every method of the paper's tables, score it, write tables and plots.

    python training/study.py --config training/configs/study.yaml --plan       # what is left
    python training/study.py --config training/configs/study.yaml --jobs 2
    python training/study.py --config training/configs/study.yaml --hours 2.4
    python training/study.py --config training/configs/study.yaml --report --docs docs/study/new
    python training/study.py --config training/configs/study.yaml --results results.csv.xz
    python training/study.py --config training/configs/study.yaml --report --earlier results.csv.xz

The study is a Snakemake workflow (pip install 'emu_core[study]', Python 3.11 or newer) of one
process for each job, the most valuable jobs first. When the command is given again, jobs that are
done are skipped, and a training that was killed goes on from its last checkpoint. On several GPUs
each job uses another one; docs/study_on_slurm.md shows how to use a cluster.

Trainings with changed settings are refused; --redo deletes them. What depends on weights
that were trained again is trained again, too. A training that diverged is left out, with all jobs
that need it, until --retry.

A study whose folder is lost can go on: with --earlier, the report has all that results.csv.xz of
the earlier run has and this one lacks.

Leaves in runs/NAME:

    REGIME/joint/member-K, REGIME/student/seed-K, …    every network, as train_teacher.py leaves it
    REGIME/evaluation/SPLIT/METHOD-SEED.npz            its scores, drive by drive
    logs/, benchmarks/                                 output and time of every job
    report/                                            tables.md, summary.md, results.csv.xz, plots
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import jsonargparse
import pandas as pd
from jsonargparse.typing import PositiveFloat, PositiveInt

from emu_core.evaluation.values import Scores
from emu_core.study.config import Study
from emu_core.study.document import write_document
from emu_core.study.jobs import StudyError, open_splits
from emu_core.study.plan import make_plan
from emu_core.study.results import load_scores, read_results, results_table, with_earlier
from emu_core.study.workflow import failure_text, jobs_left, plan_text, prepare, run
from emu_core.training.command import HelpFormatter, run_command

SNAKEFILE = Path(__file__).with_name("Snakefile")


def carry_out(arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser = jsonargparse.ArgumentParser(
        description=__doc__,
        usage="study.py --config FILE [--plan | --report] [--jobs N] [--hours H] [--KEY X]",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--config", action="config", help="YAML of the study")
    parser.add_class_arguments(Study)
    parser.add_argument("--plan", action="store_true", help="print the jobs that are left")
    parser.add_argument("--report", action="store_true", help="write tables and plots, and stop")
    parser.add_argument(
        "--jobs", type=PositiveInt, default=1, help="number of jobs that run at once"
    )
    parser.add_argument("--hours", type=PositiveFloat, help="start no job after this time")
    parser.add_argument("--only", nargs="+", default=[], help="run only these jobs, e.g. copies")
    parser.add_argument("--profile", type=Path, help="Snakemake profile, e.g. of a cluster")
    parser.add_argument(
        "--redo", action="store_true", help="delete trainings with changed settings"
    )
    parser.add_argument("--retry", action="store_true", help="run again what diverged")
    parser.add_argument("--docs", type=Path, help="folder that gets all but tables.md, too")
    parser.add_argument("--results", type=Path, help="only write the tables of a results.csv.xz")
    parser.add_argument("--earlier", type=Path, help="results.csv.xz of an earlier run to go on")
    options = parser.instantiate(parser.parse_args(list(arguments)))
    study = Study(**{field.name: options[field.name] for field in fields(Study)})
    if options.results is not None:
        report(study, read_results(options.results), {}, options.docs)
        return
    earlier = None if options.earlier is None else read_results(options.earlier)
    plan, failed = make_plan(study), {}
    if not options.report:
        prepare(study, plan, options.redo, options.retry)
        if options.plan:
            print(plan_text(study, plan, jobs_left(study, SNAKEFILE)))
            return
        failed = run(
            study, plan, SNAKEFILE, options.only, options.jobs, options.hours, options.profile
        )
    if not options.only:
        splits = open_splits(study)
        scores = load_scores(study, plan, splits)
        results = results_table(study, plan, splits, scores)
        if earlier is not None:
            results = with_earlier(results, earlier)
        report(study, results, scores, options.docs)
    if failed:
        raise StudyError(failure_text(failed))


def report(
    study: Study, results: pd.DataFrame, scores: Mapping[str, Scores], docs: Path | None
) -> None:
    """Write tables and plots."""
    write_document(study.folder / "report", results, scores)
    if docs is not None:
        write_document(docs, results, scores, all_tables=False)


def main() -> int:
    """Command line."""
    return run_command("study", lambda: carry_out(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
