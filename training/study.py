"""Run a whole study: train every row of the paper's tables, score it, write tables and plots.

    python training/study.py --config training/configs/study.yaml --plan       # what, and how long
    python training/study.py --config training/configs/study.yaml              # kill it, go on
    python training/study.py --config training/configs/study.yaml --hours 2.4
    python training/study.py --config training/configs/study.yaml --report --docs docs

The most valuable rows come first. What is done is skipped, a training that was killed goes on from
its last checkpoint, and tables are written with what is there. Leaves in runs/NAME:

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
from emu_core.study.execution import Execution, trainers
from emu_core.study.plan import make_plan
from emu_core.study.session import announce, report, work


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", action="config", help="YAML of the study")
    parser.add_class_arguments(Study)
    parser.add_argument("--plan", action="store_true", help="print it with its hours, and stop")
    parser.add_argument("--report", action="store_true", help="write tables and plots, and stop")
    parser.add_argument("--hours", type=float, help="begin no step after so many")
    parser.add_argument("--docs", type=Path, help="folder that gets the results as well")
    try:
        options = parser.instantiate(parser.parse_args(arguments))
        study = Study(**{field.name: options[field.name] for field in fields(Study)})
        execution = Execution(study, make_plan(study), trainers())
        execution.prepare()
        if options.report:
            report(execution, options.docs)
            return 0
        announce(execution)
        if options.plan:
            return 0
        complete = work(execution, options.hours)
        if options.docs:
            report(execution, options.docs)
        return 0 if complete else 3
    except (ValueError, OSError) as error:
        # From a loading process comes a traceback that ends in the message.
        message = str(error).rpartition("DataError: ")[2].strip()
        print(f"study: {message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("study: interrupted; the same command goes on from there.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
