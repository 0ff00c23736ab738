"""Check and measure this project on an NVIDIA GPU, within ten minutes.

    make test-gpu                                         # the same in an environment of its own
    python -m emu_core.bench.gpu                          # out/gpu/gpu.json and gpu.md
    python -m emu_core.bench.gpu --device cpu --quick     # the same code without a GPU

Exit codes: 0 all parts that run on this machine are right, 1 a part found a wrong result, 2 wrong
arguments, 3 there is no GPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import PositiveFloat

from emu_core.bench.gpu.checks import FailedError, GpuSettings, SkippedError
from emu_core.bench.gpu.engines import check_engines
from emu_core.bench.gpu.networks import measure_crops, measure_networks
from emu_core.bench.gpu.trainings import check_devices, check_training
from emu_core.bench.settings import describe_machine
from emu_core.files import without_nan, write_json, write_text
from emu_core.terminal import accept_any_text, orderly_end

NO_GPU = 3
"""Exit code without a GPU."""

PARTS: dict[str, Callable[[GpuSettings], dict[str, Any]]] = {
    "engines": check_engines,
    "training": check_training,
    "devices": check_devices,
    "crops": measure_crops,
    "networks": measure_networks,
}
"""What is checked and measured, in this order."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts, write gpu.json and gpu.md, and return the exit code."""
    accept_any_text()
    parser = argparse.ArgumentParser(
        prog="python -m emu_core.bench.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--device", choices=("cuda", "cpu"), default="cuda", help="default: %(default)s")
    add("--output", type=Path, default=Path("out/gpu"), help="folder (default: %(default)s)")
    add("--parts", choices=tuple(PARTS), nargs="+", default=list(PARTS), help="default: all")
    add("--quick", action="store_true", help="small images and few rounds")
    add(
        "--seconds",
        type=PositiveFloat,
        default=540.0,
        help="start no part or measurement after this time (default: %(default)g)",
    )
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        print(
            f"gpu: PyTorch {torch.__version__} finds no GPU here. Install a PyTorch for "
            "CUDA and the driver, or try the same code: --device cpu --quick.",
            file=sys.stderr,
        )
        return NO_GPU
    settings = GpuSettings(
        given.device, given.output.resolve(), given.quick, given.seconds, time.monotonic()
    )
    settings.output.mkdir(parents=True, exist_ok=True)
    with orderly_end():
        results = {name: _run(name, settings) for name in PARTS if name in given.parts}
    content = {"device": given.device, "machine": describe_machine(), "parts": results}
    write_json(settings.output / "gpu.json", without_nan(content))
    text = render(content)
    write_text(settings.output / "gpu.md", text)
    print(f"{text}\n{settings.output}: gpu.json and gpu.md written")
    return int(any(part["status"] == "failed" for part in results.values()))


def _run(name: str, settings: GpuSettings) -> dict[str, Any]:
    print(f"--- {name}", file=sys.stderr, flush=True)
    start = time.monotonic()
    outcome: dict[str, Any]
    try:
        if settings.is_over:
            raise SkippedError("the time was over")
        outcome = {"status": "passed", "reason": "", **PARTS[name](settings)}
    except SkippedError as skipped:
        outcome = {"status": "skipped", "reason": str(skipped)}
    except FailedError as failed:
        outcome = {"status": "failed", "reason": str(failed)}
    return outcome | {"seconds": time.monotonic() - start}


def render(content: dict[str, Any]) -> str:
    """Write the results as Markdown."""
    machine = content["machine"]
    where = ", ".join(machine["gpus"]) if content["device"] == "cuda" else machine["processor"]
    lines = [
        f"# Check on {where}",
        "",
        "| part | result | seconds | reason |",
        "|:--|:--|--:|:--|",
    ]
    for name, part in content["parts"].items():
        lines.append(f"| {name} | {part['status']} | {part['seconds']:.0f} | {part['reason']} |")
    for name, part in content["parts"].items():
        if rows := part.get("rows"):
            columns = list(dict.fromkeys(key for each in rows for key in each))
            lines += ["", f"## {name}", "", "| " + " | ".join(columns) + " |"]
            lines.append("|:--" + "|--:" * (len(columns) - 1) + "|")
            lines += ["| " + " | ".join(_cell(r.get(c)) for c in columns) + " |" for r in rows]
        if losses := part.get("losses"):
            lines += ["", f"## {name}", ""]
            lines += [f"- {kind}: {found}" for kind, found in losses.items()]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
