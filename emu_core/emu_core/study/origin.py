"""Where a study's figures come from: commands, seeds, commit and versions."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from emu_core.study.config import Copies, Study
from emu_core.study.plan import STUDENT_SEEDS

_PACKAGES = ("torch", "lightning", "numpy")
_SWITCHES = ("--plan", "--report", "--redo", "--retry")
_VALUES = ("--hours", "--docs")


def origin(study: Study, arguments: Sequence[str]) -> dict[str, Any]:
    """What it takes to make the figures again, beside the commit.

    Args:
        arguments: of training/study.py's command line.
    """
    run, pretraining = study.run, study.pretraining
    pupils = max([item.seeds for item in study.order if item.row == "student"], default=0)
    first = run.seed + STUDENT_SEEDS
    seeds = {
        "members": [run.seed, run.seed + study.members - 1],
        "students and controls": [first, first + max(pupils, 1) - 1],
    }
    if pretraining is not None:
        seeds["pre-training"] = [pretraining.seed, pretraining.seed]
    return {
        "commands": commands(study, arguments),
        "seeds": seeds,
        "versions": {"python": platform.python_version()} | {p: version(p) for p in _PACKAGES},
    }


def commands(study: Study, arguments: Sequence[str]) -> list[str]:
    """What to type for the study, from its data to its document."""
    lines = []
    if study.data.kind == "drives":
        copies = study.copies or Copies(source=study.data.root)
        lines.append(
            f"python training/render_drives.py --config {shlex.quote(str(copies.rendered))} "
            f"--output {shlex.quote(str(copies.source))}"
        )
    given = shlex.join(["python", "training/study.py", *_lasting(arguments)])
    return [*lines, f"{given} --plan", given, f"{given} --report --docs docs"]


def origin_text(about: Mapping[str, Any]) -> str:
    """The document's block, from study.json's `about`."""
    seeds = "; ".join(
        f"{who} {first}" + (f"…{last}" if last != first else "")
        for who, (first, last) in about["seeds"].items()
    )
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    typed = "\n".join(f"    {line}" for line in about["commands"])
    return (
        f"{typed}\n\n`--plan` shows what will be done and how long it takes; a study that was "
        f"stopped goes on when the command is given again. Commit `{about['commit']}`, "
        f"{versions}. Seeds: {seeds}."
    )


def _lasting(arguments: Sequence[str]) -> list[str]:
    """The arguments that say what the study is, not what to do of it now."""
    kept, left = [], iter(arguments)
    for argument in left:
        if argument in _VALUES:
            next(left, None)
        elif argument not in _SWITCHES and not argument.startswith(
            tuple(f"{v}=" for v in _VALUES)
        ):
            kept.append(argument)
    return kept
