"""Compare methods: score and time what is missing, then write tables and plots.

    evaluation = compare(candidates, {"test": Split(data, "test")}, Path("runs/x/evaluation"))
    print(summary(evaluation.of("test")))

The folder gets evaluation.md, evaluation.csv, evaluation.json and plots.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure

from emu_core.evaluation import plots, tables
from emu_core.evaluation.candidate import Candidate, Scored, Store, refuse_duplicates
from emu_core.evaluation.score import score_missing, setting
from emu_core.evaluation.splits import Split
from emu_core.evaluation.timing import Times, time_missing
from emu_core.evaluation.values import Scores, metric_table
from emu_core.files import write_atomically, write_text

TIMING = "timing.json"
"""Milliseconds per image of every method, in the folder of the scores."""

OVERVIEWS = {
    "classes": ("miou", "ece", "seg.nll", "seg.brier", "seg.error_auroc", "seg.ause"),
    "depth": ("rmse", "delta1", "depth.nll", "depth.ratio_error_auroc", "depth.ause"),
}
"""Metrics of the plots that show a mark for each method, by task."""


@dataclass(frozen=True)
class Evaluation:
    """Result of `compare`.

    Args:
        table: Every metric, see `values.COLUMNS`.
        note: Sizes, numbers of images and drives, and how times were measured.
        bound: Sentence on the accuracy of ranking metrics.
    """

    table: pd.DataFrame
    note: str
    bound: str

    def of(self, split: str) -> pd.DataFrame:
        """The metrics of one split."""
        return self.table[self.table.split == split]


def compare(
    candidates: Sequence[Candidate],
    splits: Mapping[str, Split],
    folder: Path,
    device: str | torch.device = "cpu",
) -> Evaluation:
    """Score, time and report methods; scores that `folder` holds are not computed again.

    Raises:
        ValueError: Two candidates have the same name and seed.
        DataError, WeightsError, OSError, ValueError: See `score_missing`.
    """
    refuse_duplicates(candidates)
    store = Store(folder)
    score_missing(candidates, splits, store, device=device)
    first = next(iter(splits.values()))
    times = time_missing(candidates, first, folder / TIMING, device)
    scores = load_scores(store, candidates, splits)
    table = metric_table(scores, times.values)
    evaluation = Evaluation(table, describe(splits, times), bound_text(largest_bound(scores)))
    names = {name: split.space.group_names for name, split in splits.items()}
    _write_report(folder, evaluation, scores, names)
    return evaluation


def load_scores(
    store: Store, candidates: Sequence[Candidate], splits: Mapping[str, Split]
) -> dict[str, dict[str, list[Scored]]]:
    """Read scores: split → method → seeds.

    Scores of other weights, images or metric definitions are left out. So are the scores of
    candidates whose files are missing.
    """
    scores: dict[str, dict[str, list[Scored]]] = {name: {} for name in splits}
    for name, split in splits.items():
        for candidate in candidates:
            present = all(path.is_file() for path in candidate.files)
            if present and (scored := store.load(candidate, name, setting(split))) is not None:
                scores[name].setdefault(candidate.name, []).append(scored)
    return scores


def largest_bound(scores: Scores) -> float | None:
    """Largest change of a ranking metric by its binned scores; None if nothing was ranked."""
    scored = [s for methods in scores.values() for seeds in methods.values() for s in seeds]
    metrics = [item for s in scored for item in s.results.pooled.items()]
    bounds = [value for name, value in metrics if name.endswith("_bound") and value >= 0]
    return max(bounds, default=None)


def bound_text(bound: float | None) -> str:
    """Explain `largest_bound`."""
    if bound is None:
        return ""
    return f"AUROC, AP and FPR95 rank binned scores, which changes them by at most {bound:.1g}."


def _write_report(
    folder: Path, evaluation: Evaluation, scores: Scores, classes: Mapping[str, Sequence[str]]
) -> None:
    """Write evaluation.md, evaluation.csv, evaluation.json and the plots."""
    parts = evaluation.table.groupby("split", sort=False)
    table = pd.concat([tables.name_classes(part, classes[name]) for name, part in parts])
    text = ["# Evaluation", evaluation.note, tables.EXPLANATION]
    for split in scores:
        contents = tables.TABLES | {"IoU of every class": tables.class_metrics(classes[split])}
        rows = table[table.split == split]
        methods = {name: name for name in rows.method.unique()}
        for heading, metrics in contents.items():
            if rows.metric.isin([metric.name for metric in metrics]).any():
                text += [f"## {split}: {heading}", tables.markdown(rows, metrics, methods)]
    text.append(
        f"{evaluation.bound} evaluation.csv has more metrics: δ2, δ3, AUSE by the Brier score and "
        "by AbsRel, all values of random uncertainties."
    )
    to_csv = partial(table.to_csv, index=False, float_format="%.6g")
    write_atomically(folder / "evaluation.csv", to_csv)
    to_json = partial(table.to_json, orient="records", indent=1)
    write_atomically(folder / "evaluation.json", to_json)
    # The tables first: they are worth more than the plots.
    write_text(folder / "evaluation.md", "\n\n".join(text) + "\n")
    names = write_plots(folder, "Evaluation", scores, table)
    text.append("\n".join(f"![{Path(name).stem}]({name})" for name in names))
    write_text(folder / "evaluation.md", "\n\n".join(text) + "\n")


def write_plots(
    folder: Path, title: str, scores: Scores, table: pd.DataFrame, prefix: str = ""
) -> list[str]:
    """Draw the plots that there are results for; one that fails is reported and left out.

    Args:
        folder: Output folder.
        title: First part of the plots' titles.
        scores: Scores for the curves.
        table: Metrics, see `values.COLUMNS`.
        prefix: Prefix of the file names.

    Returns:
        Names of the files.
    """
    present = {split: methods for split, methods in scores.items() if methods}
    if not present:
        return []
    curves = (plots.reliability, plots.depth_coverage, plots.sparsification)
    drawings = {plot.__name__: partial(plot, present, title) for plot in curves}
    measured = set(table.metric[table["mean"].notna()])
    for task, names in OVERVIEWS.items():
        metrics = [tables.METRICS[name] for name in names if name in measured]
        if metrics:
            heading = f"{title}: {task}, mean and interval"
            drawings[f"overview_{task}"] = partial(plots.overview, table, metrics, heading)
    files = {f"{prefix}{name}.png": draw for name, draw in drawings.items()}
    return [name for name, draw in files.items() if write_plot(folder / name, draw)]


def write_plot(path: Path, draw: Callable[[], Figure], dpi: int = 90) -> bool:
    """Draw a plot and write it; on any error, print a warning and return False.

    Results that took hours must not depend on a plot.
    """
    try:
        write_atomically(path, partial(draw().savefig, dpi=dpi))
    except Exception as error:
        reason = " ".join(str(error).split())
        print(f"warning: {path} was not drawn ({type(error).__name__}: {reason})", file=sys.stderr)
        return False
    return True


def describe(splits: Mapping[str, Split], times: Times | None) -> str:
    """Describe the measurements: image size, numbers of images and drives, threads."""
    first = next(iter(splits.values()))
    height, width = first.size
    counts = ", ".join(f"{n} ({len(s)} images, {len(s.drives)} drives)" for n, s in splits.items())
    text = (
        f"Images of {width}×{height} pixels, scored against ground truth of that size (nearest "
        f"neighbour), depth in metres of each image's lens, valid up to {first.max_depth:g} m. "
        f"Splits: {counts}."
    )
    if times is None:
        return text
    order = "one method after the other, an ensemble's members read again for every image"
    if times.in_turn:
        order = "all methods in turn"
    return (
        f"{text} Time: median of {times.images} images, one at a time, {order}, eager PyTorch in "
        f"fp32, {times.threads} threads, {times.device}."
    )
