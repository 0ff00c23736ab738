"""What a run of the benchmark is asked for."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from emu_core.bench.rounds import CLOCKS

PARTS = ("inference", "ros", "training", "growth", "profile")
SIZES = ((256, 512), (512, 1024), (1024, 2048))
COMPARED = (512, 1024)
"""The size that ratios are told of; the largest of --sizes where this is none of them."""


@dataclass(frozen=True)
class Settings:
    """Options of `python -m emu_core.bench`; sizes are (height, width)."""

    sizes: tuple[tuple[int, int], ...] = SIZES
    repetitions: int = 10
    threads: int = 2
    parts: tuple[str, ...] = PARTS
    output: Path = Path("out/bench")
    clock: str = "wall"
    quick: bool = False

    @property
    def compared(self) -> tuple[int, int]:
        """The size that everything is compared at."""
        return COMPARED if COMPARED in self.sizes else max(self.sizes)

    @property
    def members(self) -> int:
        """Members of an ensemble, samples of MC Dropout."""
        return 2 if self.quick else 10

    @property
    def time(self) -> Callable[[], float]:
        """Seconds on the clock that was chosen."""
        return CLOCKS[self.clock]


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Read the command line."""
    usual = Settings(threads=min(4, len(os.sched_getaffinity(0))))
    parser = argparse.ArgumentParser(
        prog="python -m emu_core.bench",
        description="Time this project and what one would run instead, side by side.",
    )
    add = parser.add_argument
    add("--sizes", type=_size, nargs="+", metavar="HxW", help="of images (default: three)")
    add("--repetitions", type=positive, help="rounds (default 10)")
    add("--threads", type=positive, default=usual.threads, help="default: cores, 4 at most")
    add("--parts", choices=PARTS, nargs="+", default=list(PARTS))
    add("--output", type=Path, default=usual.output, help="folder (default out/bench)")
    add(
        "--clock", choices=tuple(CLOCKS), default="wall",
        help="cpu: the process's CPU time; with --threads 1, for ratios on a busy machine",
    )  # fmt: skip
    add("--quick", action="store_true", help="one small image, two rounds, two members")
    given = parser.parse_args(arguments)
    sizes = given.sizes or ([(64, 128)] if given.quick else SIZES)
    return Settings(
        sizes=tuple(sizes),
        repetitions=given.repetitions or (2 if given.quick else usual.repetitions),
        threads=given.threads,
        parts=tuple(part for part in PARTS if part in given.parts),
        output=given.output,
        clock=given.clock,
        quick=given.quick,
    )


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)[x×](\d+)", text)
    if not found or min(size := (int(found[1]), int(found[2]))) < 32:
        raise argparse.ArgumentTypeError(f"expected HxW of at least 32x32, but got {text!r}")
    return size


def positive(text: str) -> int:
    """An option's whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, but got {text!r}")
    return int(text)
