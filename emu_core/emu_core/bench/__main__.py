"""`python -m emu_core.bench`: run the chosen parts, and write the results."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

from emu_core.bench import report
from emu_core.bench.measurement import ABSOLUTE_VALUES, RATIOS, with_all_keys
from emu_core.bench.settings import BenchSettings, describe_machine, parse, size_name
from emu_core.runtime.model_file import default_model, read_info
from emu_core.terminal import accept_any_text, orderly_end

_MODULES = {"rate": "ros"}
"""Modules of parts that do not have their own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    accept_any_text()
    settings = parse(arguments)
    settings.output.mkdir(parents=True, exist_ok=True)
    with orderly_end():
        results = run(settings, sys.argv[1:] if arguments is None else arguments)
    path = settings.output / "bench.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = report.render(results)
    (settings.output / "bench.md").write_text(text, encoding="utf-8")
    report.draw(results, settings.output / "bench.png")
    print(f"{text}\nWrote {path}, bench.md and bench.png.")
    return 0


def run(settings: BenchSettings, arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Run the parts and return the content of bench.json."""
    info = read_info(default_model())
    results: dict[str, Any] = {
        "command": " ".join(["python -m emu_core.bench", *arguments]),
        "machine": describe_machine(),
        "settings": {
            "threads": settings.threads,
            "repetitions": settings.repetitions,
            "clock": settings.clock,
            "sizes": [size_name(size) for size in settings.sizes],
            "compared": size_name(settings.ratio_size),
            "members": settings.members,
            "parts": list(settings.parts),
            "quick": settings.quick,
        },
        "model": {"name": info.name, "sha256": info.sha256},
        "ratios": {},
        "figures": {},
        "details": {},
    }
    for part in settings.parts:
        print(f"--- {part}", file=sys.stderr)
        module = importlib.import_module(f"emu_core.bench.{_MODULES.get(part, part)}")
        measured = getattr(module, f"measure_{part}")(settings)
        for kind in ("ratios", "figures", "details"):
            results[kind] |= measured.get(kind, {})
    results["ratios"] = with_all_keys(results["ratios"], RATIOS)
    results["figures"] = with_all_keys(results["figures"], ABSOLUTE_VALUES)
    return results


if __name__ == "__main__":
    sys.exit(main())
