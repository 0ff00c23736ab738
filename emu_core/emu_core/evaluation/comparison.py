"""Methods side by side: score what is missing, time all of them, write tables and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from emu_core.evaluation.candidate import Candidate, refuse_duplicates
from emu_core.evaluation.missing import score_missing
from emu_core.evaluation.report import (
    Rows,
    load_cells,
    load_timings,
    rows_of,
    save_timings,
    write_report,
)
from emu_core.evaluation.splits import Split
from emu_core.evaluation.store import Store
from emu_core.evaluation.timing import Timing, time_methods

TIMED_IMAGES = 21
"""The first one warms up."""


class Comparison(NamedTuple):
    """What `compare` found."""

    rows: Rows
    note: str
    """What was measured how, in words."""


def compare(
    candidates: Sequence[Candidate],
    splits: Mapping[str, Split],
    folder: Path,
    device: str | torch.device = "cpu",
) -> Comparison:
    """Score, time and report; what `folder` holds already is not scored again.

    Raises:
        ValueError: two methods have one row and seed.
        DataError, WeightsError, ValueError: see `score_missing`.
    """
    refuse_duplicates(candidates)
    store = Store(folder)
    score_missing(candidates, splits, store, device=device)
    timings = time_missing(candidates, next(iter(splits.values())), folder, device)
    cells = load_cells(store, candidates, splits)
    note = describe(splits, timings)
    rows = rows_of(cells, timings)
    write_report(folder, "Evaluation", note, cells, rows)
    return Comparison(rows, note)


def time_missing(
    candidates: Sequence[Candidate],
    split: Split,
    folder: Path,
    device: str | torch.device = "cpu",
) -> dict[str, Timing]:
    """Time the first seed of every method, all anew if one was not timed yet with these threads.

    Together they are slowed alike by whatever else runs; figures of different hours are not.
    """
    path = folder / "timing.json"
    known = load_timings(path)
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(candidate.name, candidate)
    threads = torch.get_num_threads()
    if all(name in known and known[name].threads == threads for name in first):
        return known
    methods = {name: candidate.load(device) for name, candidate in first.items()}
    views = islice(split, TIMED_IMAGES)
    images: list[Tensor] = [
        torch.from_numpy(view.image).permute(2, 0, 1)[None].contiguous().to(device)
        for view in views
    ]
    timings = time_methods(methods, images)
    save_timings(path, timings)
    return timings


def describe(splits: Mapping[str, Split], timings: Mapping[str, Timing]) -> str:
    """What was measured how: sizes, numbers of images and drives, threads."""
    height, width = next(iter(splits.values())).size
    there = ", ".join(f"{n} ({len(s)} images, {len(s.drives)} drives)" for n, s in splits.items())
    text = (
        f"Images of {width}×{height} pixels, scored against ground truth of that size (nearest "
        f"neighbour), depth in metres of each image's lens, valid up to "
        f"{next(iter(splits.values())).max_depth:g} m. Splits: {there}."
    )
    if timings:
        timing = next(iter(timings.values()))
        text += (
            f" Time: median of {timing.images} images, one at a time, all methods in turn, eager "
            f"PyTorch in fp32, {timing.threads} threads, {timing.device}."
        )
    return text
