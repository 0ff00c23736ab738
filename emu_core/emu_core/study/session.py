"""A session of a study: say what it will take, do it, write down what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emu_core.data.datasets import open_dataset
from emu_core.evaluation.comparison import describe, time_missing, timed
from emu_core.evaluation.store import read_json, write_json
from emu_core.evaluation.tables import csv_lines
from emu_core.files import replace_text
from emu_core.study.claims import Closed, compare, gap_closed
from emu_core.study.cost import KINDS, measure
from emu_core.study.document import blocks, write_document, write_study_plots
from emu_core.study.estimate import estimate, table
from emu_core.study.execution import Execution, StudyError
from emu_core.study.findings import Findings, collect
from emu_core.study.origin import origin, origin_text
from emu_core.study.plan import Scoring
from emu_core.study.summary import as_text, summarise
from emu_core.training.command import prepare_cpu
from emu_core.training.export import head_commit

COSTS = "costs.json"
"""In the study's folder: measured seconds per image."""

RESULTS = "study.json"


def announce(execution: Execution) -> float:
    """Print every step, and the hours that are left; returns these.

    Raises:
        DataError: there are no frames to measure the costs on.
        StudyError: the configuration lacks the cost of some kind of work.
    """
    lines = estimate(execution, costs(execution))
    hours = sum(line.left for line in lines) / 3600
    done = sum(line.done for line in lines)
    print(table(lines))
    print(
        f"{execution.folder}: {done} of {len(lines)} steps are done; for one process some "
        f"{hours:.1f} h are left"
    )
    return hours


def costs(execution: Execution) -> Mapping[str, float]:
    """Seconds per image: as configured, or measured once and kept."""
    given = execution.study.seconds_per_image
    if given is not None:
        lacking = [kind for kind in KINDS if kind not in given]
        if lacking:
            raise StudyError(f"seconds_per_image lacks {', '.join(lacking)}.")
        return given
    path = execution.folder / COSTS
    with execution.lock("costs"):
        known = read_json(path)
        if known is None:
            print("measuring what a training step costs …", flush=True)
            data = execution.data
            prepare_cpu(execution.study.run.threads)
            samples = open_dataset(data.kind, data.root, "train", data.max_depth)
            known = measure(samples, data, execution.study.architecture, execution.device)
            write_json(path, known)
    return known


def work(execution: Execution, hours: float | None = None) -> None:
    """Do what is left, and write tables after every scoring."""
    prepare_cpu(execution.study.run.threads)
    execution.run(hours, lambda scoring: report(execution, plots=False))


def take_times(execution: Execution) -> None:
    """Time every row that was scored, all anew if one is new or has changed.

    Nothing else of the study may run meanwhile: another process that is at a step puts it off to
    the next time, and none begins one before it is done.
    """
    prepare_cpu(execution.study.run.threads)
    left = [step for step in execution.plan if not execution.done(step)]
    keys = {step.key for step in left}
    scored = [s for s in execution.plan if isinstance(s, Scoring) and s.key not in keys]
    candidates = [scoring.candidate(execution.folder) for scoring in scored]
    if not scored:
        return
    about = next(iter(execution.splits.values())), execution.folder, execution.device
    if timed(candidates, *about) is not None:
        return
    with ExitStack() as held:
        for step in left:
            if not held.enter_context(execution.lock(step.key, wait=False)):
                print(
                    f"no times taken while another process is at {step.key}: give the command "
                    "again when nothing else runs",
                    flush=True,
                )
                return
        time_missing(candidates, *about)


def report(execution: Execution, docs: Path | None = None, plots: bool = True) -> None:
    """Write study.json, study.csv, study.md and plots of all that was found so far.

    Args:
        docs: a folder that gets them as well; of its study.md only what the study writes changes.
        plots: whether to draw them, which takes longest.
    """
    with execution.lock("report"):
        findings = collect(execution.study, execution.plan, execution.splits)
        of_splits = [
            (regime, split, rows)
            for regime, splits in findings.cells.items()
            for split, rows in splits.items()
        ]
        comparisons = [c for place in of_splits for c in compare(*place)]
        closed = [c for place in of_splits for c in gap_closed(*place)]
        results = summarise(findings, comparisons, closed, about(execution, findings))
        text = blocks(findings, comparisons, closed)
        text["commands"] = origin_text(results["about"])
        for folder, pictures in ((execution.folder, "plots"), (docs, "study")):
            if folder is None:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            replace_text(folder / RESULTS, as_text(results))
            replace_text(folder / "study.csv", _figures(findings))
            if plots:
                text |= _pictures(folder, pictures, findings, closed)
            write_document(folder / "study.md", "Study", text)


def _figures(findings: Findings) -> str:
    """Every figure, as CSV."""
    rows = [
        ((regime, split, name), row)
        for regime, splits in findings.rows.items()
        for split, methods in splits.items()
        for name, row in methods.items()
    ]
    return csv_lines(rows, ("regime", "split", "method"))


def _pictures(
    folder: Path, pictures: str, findings: Findings, closed: Sequence[Closed]
) -> dict[str, str]:
    """Draw the plots, and make the blocks that show them."""
    names = write_study_plots(folder / pictures, findings, closed)
    return {
        f"{regime}: plots": "\n\n".join(
            f"![{name.removesuffix('.png')}]({pictures}/{name})"
            for name in names
            if name.startswith(f"{regime}_")
        )
        for regime in findings.rows
    }


def about(execution: Execution, findings: Findings) -> dict[str, Any]:
    """What the figures are figures of."""
    study = execution.study
    return {
        "commit": head_commit(),
        **origin(study, execution.arguments),
        "setting": describe(execution.splits, findings.timings),
        "interval": f"95 %, {study.resamples} resamples of the drives",
        "members": study.members,
        "regimes": {name: asdict(regime) for name, regime in study.regimes.items()},
        "splits": study.splits,
        "variant": study.architecture.variant,
        "batch": study.data.batch,
        "done": sum(execution.done(step) for step in execution.plan),
        "steps": len(execution.plan),
        "failed": execution.failed,
    }
