"""The lines that a conversion of bags prints at its end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

import numpy as np

from emu_core.recordings.options import ConversionOptions
from emu_core.recordings.plan import TRAIN, VAL
from emu_core.recordings.recording import Recording


@dataclass
class Totals:
    """Numbers for the summary."""

    frames: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    with_depth: int = 0
    depth_share: float = 0.0
    depth_range: tuple[float, float] = (math.inf, 0.0)
    left_out: Counter[str] = field(default_factory=Counter)

    def add_depth(self, code: np.ndarray) -> None:
        """Count the depth of a frame."""
        metres = code[code > 0] / 256
        self.with_depth += 1
        self.depth_share += metres.size / code.size
        nearest, farthest = self.depth_range
        self.depth_range = min(nearest, float(metres.min())), max(farthest, float(metres.max()))


def summary(
    options: ConversionOptions, recordings: Sequence[Recording], totals: Totals
) -> list[str]:
    """Lines about frames, lenses, times and depth."""
    splits = ", ".join(f"{totals.frames[split]} {split}" for split in (TRAIN, VAL))
    count = sum(totals.frames.values())
    bags = "1 bag" if len(recordings) == 1 else f"{len(recordings)} bags"
    lines = [f"{options.output}: {count} frames written from {bags} ({splits})"]
    if totals.kept:
        lines[0] += f", {totals.kept} were there already"
    cameras = {c: text for recording in recordings for c, text in recording.descriptions.items()}
    lines += [f"{camera}: {text}" for camera, text in cameras.items()]
    for recording in recordings:
        start, end = (time / 1e9 for time in recording.plan.span_ns)
        when = datetime.fromtimestamp(start, timezone.utc).isoformat(sep=" ", timespec="seconds")
        lines.append(f"{recording.name}: {end - start:.1f} s from {when[:-6]} UTC")
    if options.depth:
        text = f"depth: {totals.with_depth} of {count} frames"
        if totals.with_depth:
            share, (near, far) = totals.depth_share / totals.with_depth, totals.depth_range
            text += f", on {share:.1%} of their pixels, {near:.2f} to {far:.2f} m"
        lines.append(text)
    without = sum((recording.plan.without_depth for recording in recordings), Counter())
    lines += [f"without depth: {number}, {reason}" for reason, number in without.items()]
    lines += [f"left out: {number} {reason}" for reason, number in totals.left_out.items()]
    return [*lines, *(note for recording in recordings for note in recording.plan.notes)]
