"""How the student's time and memory grow: with pixels, cameras, members and backbone.

Every case runs in a process of its own, so that its peak of resident memory is its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from emu_core.bench.contestants import disturbed_member
from emu_core.bench.files import exported, student_file
from emu_core.bench.report import missing, summarize
from emu_core.bench.sampled_graphs import EnsembleGraph
from emu_core.bench.settings import Settings
from emu_core.networks import SegDepthFormer
from emu_core.networks.encoder import VARIANTS

CAMERAS = (1, 2, 4)
MEMBERS = (1, 2, 5, 10)
_CASE_TIMEOUT_S = 600


def measure(settings: Settings) -> dict[str, Any]:
    """Milliseconds of all cameras' frames and megabytes, by what grows and how far."""
    files, size = settings.output / "models", settings.compared
    small = min(settings.sizes)
    members = MEMBERS[:2] if settings.quick else MEMBERS
    variants = list(VARIANTS)[: 1 if settings.quick else None]
    cases: dict[str, dict[str, tuple[Path, int]]] = {
        "pixels": {f"{h}x{w}": (student_file((h, w), files), 1) for h, w in settings.sizes},
        "cameras": {str(n): (student_file(size, files), n) for n in CAMERAS},
        "members": {str(n): (_ensemble(n, small, files), 1) for n in members},
        "backbone": {name: (_backbone(name, small, files), 1) for name in variants},
    }
    found: dict[str, dict[str, Any]] = {}
    for what, how_far in cases.items():
        found[what] = {
            value: _in_a_process(path, cameras, settings)
            for value, (path, cameras) in how_far.items()
        }
    sizes = {"cameras": size, "members": small, "backbone": small}
    at = {what: "{}x{}".format(*of) for what, of in sizes.items()}
    return {"details": {"growth": found, "growth_at": at}}


def _ensemble(members: int, size: tuple[int, int], folder: Path) -> Path:
    graph = EnsembleGraph([disturbed_member(k) for k in range(members)])
    return exported(graph, f"ensemble{members}", size, folder)


def _backbone(variant: str, size: tuple[int, int], folder: Path) -> Path:
    network = SegDepthFormer(variant)
    network.init_depth(20.0)
    return student_file(size, folder, network, f"random-{variant}")


def _in_a_process(path: Path, cameras: int, settings: Settings) -> dict[str, Any]:
    command = [sys.executable, "-m", "emu_core.bench.growth_case", str(path)]
    command += [str(n) for n in (cameras, settings.threads, settings.repetitions)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=_CASE_TIMEOUT_S
    )
    if done.returncode:
        return {"milliseconds": missing((done.stderr.strip().splitlines() or ["failed"])[-1])}
    found = json.loads(done.stdout.splitlines()[-1])
    return {"milliseconds": summarize(found["milliseconds"]), "peak_rss_mb": found["rss_mb"]}
