"""Compare model files of one image size: speed and differences of the outputs.

    python -m emu_core.bench.compare before.onnx after.onnx --threads 1 --clock cpu
    python -m emu_core.bench.compare student.onnx --providers cpu openvino openvino-bf16

Prints milliseconds, the ratio to the first model in each round, and the differences from its
outputs as in `emu_core.runtime.parity`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from emu_core.bench.measurement import CLOCKS, ratio, run_rounds, summarize
from emu_core.bench.models import fixed_image
from emu_core.runtime.parity import measure_errors
from emu_core.runtime.perceiver import PROVIDERS, Perceiver
from emu_core.terminal import accept_any_text


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare and print."""
    accept_any_text()
    parser = argparse.ArgumentParser(prog="python -m emu_core.bench.compare")
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--providers", choices=tuple(PROVIDERS), nargs="+", default=["cpu"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    parser.add_argument("--repetitions", type=int, default=10)
    options = parser.parse_args(arguments)
    perceivers = {
        f"{path} on {provider}": Perceiver(path, provider=provider, threads=options.threads)
        for path in options.models
        for provider in options.providers
    }
    first, *_ = perceivers
    image = fixed_image(perceivers[first].info.input_size)
    functions = {name: lambda p=p: p.perceive(image) for name, p in perceivers.items()}
    clock = CLOCKS[options.clock]
    series = run_rounds(functions, options.repetitions, warm_up=2, clock=clock)
    expected = perceivers[first].perceive(image).maps()
    for name, perceiver in perceivers.items():
        ms, relative = summarize(series[name]), ratio(series[name], series[first])
        errors = measure_errors(perceiver.perceive(image).maps(), expected)
        differences = ", ".join(f"{key} {value:.3g}" for key, value in errors.items())
        print(
            f"{name}: {ms['median']:.1f} ms ({ms['min']:.1f} to {ms['max']:.1f}), ratio "
            f"{relative['median']:.3f} ({relative['min']:.3f} to {relative['max']:.3f}); "
            f"{differences}"
        )


if __name__ == "__main__":
    main()
