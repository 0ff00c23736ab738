"""Model files of one size against each other: is a change of the export quicker, and exact?

    python -m emu_core.bench.compare before.onnx after.onnx --threads 1 --clock cpu
    python -m emu_core.bench.compare student.onnx --providers cpu openvino openvino-bf16

Prints milliseconds, the ratio to the first one round by round, and the errors against it in the
terms of `emu_core.runtime.parity`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from emu_core.bench.files import fixed_image
from emu_core.bench.report import ratio, summarize
from emu_core.bench.settings import CLOCKS, run_rounds
from emu_core.runtime.parity import measure_errors
from emu_core.runtime.perceiver import PROVIDERS, Perceiver


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(prog="python -m emu_core.bench.compare")
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--providers", choices=tuple(PROVIDERS), nargs="+", default=["cpu"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    parser.add_argument("--repetitions", type=int, default=10)
    given = parser.parse_args(arguments)
    perceivers = {
        f"{path} on {provider}": Perceiver(path, provider=provider, threads=given.threads)
        for path in given.models
        for provider in given.providers
    }
    first, *_ = perceivers
    image = fixed_image(perceivers[first].info.input_size)
    contestants = {name: lambda p=p: p.perceive(image) for name, p in perceivers.items()}
    clock = CLOCKS[given.clock]
    series = run_rounds(contestants, given.repetitions, warm_up=2, clock=clock)
    expected = vars(perceivers[first].perceive(image))
    for name, perceiver in perceivers.items():
        ms, against = summarize(series[name]), ratio(series[name], series[first])
        errors = measure_errors(vars(perceiver.perceive(image)), expected)
        told = ", ".join(f"{key} {value:.3g}" for key, value in errors.items())
        print(
            f"{name}: {ms['median']:.1f} ms ({ms['min']:.1f} to {ms['max']:.1f}), ratio "
            f"{against['median']:.3f} ({against['min']:.3f} to {against['max']:.3f}); {told}"
        )


if __name__ == "__main__":
    main()
