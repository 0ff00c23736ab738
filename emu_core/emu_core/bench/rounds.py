"""Contestants in turn: every round runs each of them once, in an order of its own."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""Seconds. With one thread, the process's CPU time tells ratios on a busy machine too."""

Series = dict[str, list[float]]
"""By contestant, milliseconds of each round."""


def run_rounds(
    contestants: Mapping[str, Callable[[], object]],
    repetitions: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    seed: int = 0,
) -> Series:
    """Time contestants in turn.

    Args:
        contestants: by name; each call is one run, and blocks until its result is there.
        repetitions: counted rounds.
        warm_up: rounds before, which are not counted.
        clock: seconds.
        seed: of the orders.
    """
    taken: Series = {name: [] for name in contestants}
    order, draw = list(contestants), random.Random(seed)
    for number in range(warm_up + repetitions):
        draw.shuffle(order)
        for name in order:
            start = clock()
            contestants[name]()
            milliseconds = 1000 * (clock() - start)
            if number >= warm_up:
                taken[name].append(milliseconds)
        print(f"\rround {number + 1} of {warm_up + repetitions}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return taken
