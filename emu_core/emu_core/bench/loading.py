"""Measure the CPU time of loading a training frame, with and without a cache.

    python -m emu_core.bench.loading --root data/drives

Prints milliseconds per frame to decode it, to read it from `data.cache` (here in a temporary
folder), and to augment it to a crop of 256 × 512.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jsonargparse import auto_cli
from jsonargparse.typing import PositiveInt

from emu_core.bench.measurement import CLOCKS, run_rounds, summarize
from emu_core.data.augment import Augmentation, prepare
from emu_core.data.datasets import default_root, open_dataset
from emu_core.data.decoded import cached
from emu_core.data.sample import Samples
from emu_core.training.command import run_command

AUGMENTATION = Augmentation(256, 512, canonical_focal=200.0, scale=(0.9, 1.6), flip=True)


def time_loading(
    kind: str = "drives",
    root: Path | None = None,
    frames: PositiveInt = 40,
    repetitions: PositiveInt = 10,
) -> None:
    """Measure and print milliseconds per frame.

    Args:
        kind: data set.
        root: folder of the data set (default: data/KIND).
        frames: number of frames of the split train.
        repetitions: number of rounds.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = open_dataset(kind, root or default_root(kind), "train", limit=frames)
        decoded = cached(data, folder)
        samples = [decoded[index] for index in range(len(data))]  # this fills the folder
        rng = np.random.default_rng(0)
        functions = {
            "decode": _all_of(data),
            "read the cache": _all_of(decoded),
            "augment": lambda: [prepare(s, AUGMENTATION, rng) for s in samples],
        }
        series = run_rounds(functions, repetitions, clock=CLOCKS["cpu"])
    for name, values in series.items():
        ms = summarize([value / len(samples) for value in values])
        print(f"{name:24}{ms['median']:7.2f} ms ({ms['min']:.2f} to {ms['max']:.2f})")


def _all_of(samples: Samples) -> Callable[[], object]:
    return lambda: [samples[index] for index in range(len(samples))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return run_command(
        "bench.loading",
        lambda: auto_cli(time_loading, args=list(arguments), as_positional=False),
    )


if __name__ == "__main__":
    sys.exit(main())
