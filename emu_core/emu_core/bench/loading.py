"""What loading a training frame costs, decoded every time and decoded once (`data.cache`).

    python -m emu_core.bench.loading --root data/drives

Prints the milliseconds of CPU time that a frame takes to come off the disk, and to be augmented
for crops of 256 × 512. In turn, like all of the benchmark; the folder of decoded frames is a
temporary one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from emu_core.bench.report import summarize
from emu_core.bench.settings import CLOCKS, positive, run_rounds
from emu_core.data.augment import Augmentation, prepare
from emu_core.data.datasets import DATASETS, default_root, open_dataset
from emu_core.data.decoded import cached
from emu_core.data.sample import DataError, Samples

AUGMENTATION = Augmentation(256, 512, canonical_focal=200.0, scale=(0.9, 1.6), flip=True)


def measure(kind: str, root: Path, frames: int, repetitions: int) -> dict[str, list[float]]:
    """Milliseconds per frame of each round.

    Raises:
        DataError: there is no such data.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = open_dataset(kind, root, "train", limit=frames)
        decoded = cached(data, folder)
        samples = [decoded[index] for index in range(len(data))]  # and fills the folder
        rng = np.random.default_rng(0)
        series = run_rounds(
            {
                "decode": _all_of(data),
                "read what was decoded": _all_of(decoded),
                "augment": lambda: [prepare(s, AUGMENTATION, rng) for s in samples],
            },
            repetitions,
            clock=CLOCKS["cpu"],
        )
    return {name: [ms / len(samples) for ms in taken] for name, taken in series.items()}


def _all_of(samples: Samples) -> Callable[[], object]:
    return lambda: [samples[index] for index in range(len(samples))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m emu_core.bench.loading",
        description="What loading a training frame costs, decoded every time and decoded once.",
    )
    parser.add_argument("--kind", choices=tuple(DATASETS), default="drives")
    parser.add_argument("--root", type=Path, help="default: data/KIND")
    parser.add_argument("--frames", type=positive, default=40)
    parser.add_argument("--repetitions", type=positive, default=10)
    given = parser.parse_args(arguments)
    root = given.root or default_root(given.kind)
    try:
        series = measure(given.kind, root, given.frames, given.repetitions)
    except DataError as error:
        parser.error(str(error))
    for name, taken in series.items():
        figure = summarize(taken)
        print(f"{name:24}{figure['median']:7.2f} ms ({figure['min']:.2f} to {figure['max']:.2f})")


if __name__ == "__main__":
    main()
