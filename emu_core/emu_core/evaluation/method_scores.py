"""Score methods side by side in PyTorch, and write tables and plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from emu_core.evaluation.candidate import parse_candidates
from emu_core.evaluation.report import compare
from emu_core.evaluation.splits import open_split
from emu_core.evaluation.tables import summary
from emu_core.training.command import prepare_cpu
from emu_core.training.release import read_config


def evaluate_methods(
    methods: Sequence[str],
    config: Path,
    splits: Sequence[str] | None,
    folder: Path,
    *,
    root: Path | None = None,
    max_depth: float | None = None,
    size: tuple[int, int] | None = None,
    stride: int = 1,
    threads: int = 0,
    lazy: bool = False,
    point_depth: Sequence[str] = (),
    device: str = "cpu",
) -> None:
    """Score methods on splits of a data set, and print a summary.

    Args:
        methods: each as `parse_candidates` reads it.
        config: a training's config.yaml, which names the data set.
        splits: names of the splits; None for the test split of the data set.
        folder: gets scores, tables and plots.
        root: folder of the data set; None for that of `config`.
        max_depth: ground truth beyond it is invalid, metres; None for that of `config`.
        size: (height, width) of network input and ground truth; None for that of `config`.
        stride: score only every so many frames.
        threads: CPU threads; 0 for all cores.
        lazy: read the members of an ensemble again for every batch, to save memory.
        point_depth: names of methods whose loss trained no depth variance.
        device: cpu or cuda.

    Raises:
        DataError: a split is missing or damaged.
        WeightsError: a file of a method is missing or damaged.
        ValueError: an argument is wrong; the message names it.
    """
    prepare_cpu(threads)
    candidates = [
        replace(c, lazy=lazy, depth_uncertainty=c.name not in point_depth)
        for text in methods
        for c in parse_candidates(text)
    ]
    if unknown := set(point_depth) - {c.name for c in candidates}:
        raise ValueError(f"--point-depth names no method: {', '.join(sorted(unknown))}.")
    data, _ = read_config(config)
    data = replace(data, root=root or data.root, max_depth=max_depth or data.max_depth)
    opened = {name: open_split(data, name, size, stride) for name in splits or [data.test_split]}
    evaluation = compare(candidates, opened, folder, device)
    print(evaluation.note)
    for name in opened:
        print(f"\n{name}\n{summary(evaluation.of(name))}\n")
    print(evaluation.bound)
    print(f"{folder}: evaluation.md, .csv, .json and plots written")
