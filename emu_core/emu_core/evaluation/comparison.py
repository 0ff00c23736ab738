"""Methods side by side: score what is missing, time all of them, write tables and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from emu_core.evaluation.candidate import IN_MEMORY, Candidate, refuse_duplicates
from emu_core.evaluation.report import (
    Rows,
    load_cells,
    load_timings,
    ranking_bound,
    rows_of,
    save_timings,
    write_report,
)
from emu_core.evaluation.score import score_missing
from emu_core.evaluation.splits import Split
from emu_core.evaluation.store import Store
from emu_core.evaluation.timing import Timing, time_methods
from emu_core.files import locked

TIMING = "timing.json"
"""Milliseconds per image of every method, in the results' folder."""

TIMED_IMAGES = 21
"""The first one warms up."""


class Comparison(NamedTuple):
    """What `compare` found."""

    rows: Rows
    note: str
    """What was measured how, in words."""
    bound: str
    """How exact the pooled rankings are, in words."""


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
    classes = next(iter(splits.values())).classes.names
    write_report(folder, "Evaluation", note, cells, rows, classes)
    return Comparison(rows, note, ranking_bound(cells))


def time_missing(
    candidates: Sequence[Candidate],
    split: Split,
    folder: Path,
    device: str | torch.device = "cpu",
) -> dict[str, Timing]:
    """Time the first seed of every method, all anew if one is not `timed` yet.

    Together they are slowed alike by whatever else runs; figures of different hours are not. Two
    processes never take times for one folder at once.
    """
    path = folder / TIMING
    with locked(folder / "locks" / "timing"):
        known = timed(candidates, split, folder, device)  # perhaps another process was faster
        if known is not None:
            return known
        methods = _first_seeds(candidates)
        images = _images(split, device)
        in_turn = sum(c.size for c in methods.values()) <= IN_MEMORY and not any(
            c.reads_lazily for c in methods.values()
        )
        groups = [methods] if in_turn else [{name: c} for name, c in methods.items()]
        timings = {}
        for group in groups:
            found = time_methods({name: c.load(device) for name, c in group.items()}, images)
            for name, timing in found.items():
                of_method = methods[name].fingerprint()
                timings[name] = replace(timing, method=of_method, in_turn=in_turn)
        save_timings(path, timings)
    return timings


def timed(
    candidates: Sequence[Candidate],
    split: Split,
    folder: Path,
    device: str | torch.device = "cpu",
) -> dict[str, Timing] | None:
    """The times of these methods as they are, at this size and on this many threads; None unless
    there are all of them."""
    known, now = load_timings(folder / TIMING), {}
    for name, candidate in _first_seeds(candidates).items():
        found = known.get(name)
        if (
            found is None
            or found.method != candidate.fingerprint()
            or found.threads != torch.get_num_threads()
            or found.size != split.size
            or torch.device(found.device).type != torch.device(device).type
        ):
            return None
        now[name] = found
    return now


def _first_seeds(candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(candidate.name, candidate)
    return first


def _images(split: Split, device: str | torch.device) -> list[Tensor]:
    """Images to time methods on, uint8 (1,3,H,W) each; the same again where a split has fewer."""
    found = [
        torch.from_numpy(view.image).permute(2, 0, 1)[None].contiguous().to(device)
        for view in islice(split, TIMED_IMAGES)
    ]
    return list(islice(cycle(found), TIMED_IMAGES))


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
        order = (
            "all methods in turn"
            if timing.in_turn
            else "one method after the other, an ensemble's members read anew for every image"
        )
        text += (
            f" Time: median of {timing.images} images, one at a time, {order}, eager PyTorch in "
            f"fp32, {timing.threads} threads, {timing.device}."
        )
    return text
