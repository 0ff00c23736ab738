"""What is left of a study, and the hours it will take: printed before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emu_core.evaluation.splits import Split
from emu_core.evaluation.store import read_json
from emu_core.study.cost import Costs, relative, scoring_seconds, training_seconds
from emu_core.study.execution import DURATIONS, Execution
from emu_core.study.plan import Step, Training
from emu_core.training.callbacks import read_checkpoint


@dataclass(frozen=True)
class Line:
    """A step with what it costs.

    Args:
        step: of the plan.
        done: whether nothing is left of it.
        total: seconds of all of it.
        left: seconds of what is not done yet.
    """

    step: Step
    done: bool
    total: float
    left: float


def estimate(execution: Execution, costs: Costs) -> list[Line]:
    """What every step costs, and what is left of it.

    Trainings that ran in one go correct the others: by the median of how much longer they took
    than was thought.
    """
    images = {name: _images(split, execution) for name, split in execution.splits.items()}
    factor = _factor(execution, costs)
    lines = []
    for step in execution.plan:
        if isinstance(step, Training):
            total = factor * training_seconds(step, costs)
        else:
            total = scoring_seconds(step, images, costs)
        total *= relative(_variant(step), execution.study.architecture.variant)
        done = execution.done(step)
        left = 0.0 if done else total * (1 - _share_done(step, execution))
        lines.append(Line(step, done, total, left))
    return lines


def table(lines: Sequence[Line]) -> str:
    """The steps in order, those of a folder together, with hours and their sum so far."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(_group(line.step), []).append(line)
    text = [f"{'':44}{'steps':>6}{'done':>6}{'hours':>8}{'left':>8}{'so far':>8}"]
    so_far = 0.0
    for name, group in groups.items():
        total, left = (sum(getattr(line, key) for line in group) for key in ("total", "left"))
        so_far += left
        done = sum(line.done for line in group)
        hours = "".join(f"{seconds / 3600:8.2f}" for seconds in (total, left, so_far))
        text.append(f"{name:44}{len(group):6}{done:6}{hours}")
    return "\n".join(text)


def _group(step: Step) -> str:
    if isinstance(step, Training):
        return f"train {step.key.rpartition('/')[0] or step.key}"
    return f"score {step.regime}/{step.name}"


def _variant(step: Step) -> str:
    return (step if isinstance(step, Training) else step.networks[0]).architecture.variant


def _images(split: Split, execution: Execution) -> float:
    """How many of the training's images a split's whole images amount to."""
    crop = execution.data.augmentation
    return len(split) * split.size[0] * split.size[1] / (crop.height * crop.width)


def _share_done(step: Step, execution: Execution) -> float:
    """How much of a training lies in its checkpoints."""
    if not isinstance(step, Training):
        return 0.0
    folder = execution.folder / step.key
    if step.kind != "heads":
        return _steps_done(folder) / step.run.steps
    heads = [folder / f"member-{k}" for k in range(1, step.heads)]
    return sum(_steps_done(head) for head in heads) / (step.run.steps * max(len(heads), 1))


def _steps_done(folder: Path) -> int:
    """Steps of a network's training; none where its checkpoint is missing or damaged."""
    last = folder / "last.ckpt"
    if not last.is_file():
        return 0
    try:
        return int(read_checkpoint(last)["global_step"])
    except Exception:  # a torn file makes torch raise many kinds
        return 0


def _factor(execution: Execution, costs: Costs) -> float:
    durations: Mapping[str, float] = read_json(execution.folder / DURATIONS) or {}
    trainings = {step.key: step for step in execution.plan if isinstance(step, Training)}
    base = execution.study.architecture.variant
    ratios = [
        seconds
        / (training_seconds(trainings[key], costs) * relative(_variant(trainings[key]), base))
        for key, seconds in durations.items()
        if key in trainings
    ]
    return float(np.median(ratios)) if ratios else 1.0
