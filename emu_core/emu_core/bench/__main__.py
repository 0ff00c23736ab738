"""`python -m emu_core.bench`: run the parts asked for, and write what they found."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

from emu_core.bench import settings as machine
from emu_core.bench.report import FIGURES, RATIOS, completed
from emu_core.bench.settings import Settings, parse
from emu_core.runtime.model_file import default_model, read_info


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    settings = parse(arguments)
    settings.output.mkdir(parents=True, exist_ok=True)
    results = run(settings, sys.argv[1:] if arguments is None else arguments)
    path = settings.output / "bench.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    from emu_core.bench import report
    from emu_core.bench import report as plot

    text = report.render(results)
    (settings.output / "bench.md").write_text(text)
    plot.draw(results, settings.output / "bench.png")
    print(f"{text}\n{path}, bench.md and bench.png are written")
    return 0


def run(settings: Settings, given: Sequence[str] = ()) -> dict[str, Any]:
    """What bench.json holds."""
    info = read_info(default_model())
    results: dict[str, Any] = {
        "command": " ".join(["python -m emu_core.bench", *given]),
        "machine": machine.describe(),
        "settings": {
            "threads": settings.threads,
            "repetitions": settings.repetitions,
            "clock": settings.clock,
            "sizes": [f"{h}x{w}" for h, w in settings.sizes],
            "compared": "{}x{}".format(*settings.compared),
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
        found = importlib.import_module(f"emu_core.bench.{part}").measure(settings)
        for kind in ("ratios", "figures", "details"):
            results[kind] |= found.get(kind, {})
    results["ratios"] = completed(results["ratios"], RATIOS)
    results["figures"] = completed(results["figures"], FIGURES)
    return results


if __name__ == "__main__":
    sys.exit(main())
