"""Time and memory of the student by image size, cameras, ensemble members and backbone.

Every case runs in its own process, to measure its own peak memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emu_core.bench.measurement import ProgramError, missing, run_program, summarize
from emu_core.bench.models import disturbed_member, onnx_file, student_file
from emu_core.bench.sampled_graphs import EnsembleGraph
from emu_core.bench.settings import BenchSettings, size_name
from emu_core.networks import SegDepthFormer
from emu_core.networks.encoder import VARIANTS


def measure_growth(settings: BenchSettings) -> dict[str, Any]:
    """Measure milliseconds (for one frame of each camera) and megabytes of all cases."""
    files, size = settings.models, settings.ratio_size
    small = min(settings.sizes)
    members = (1, 2) if settings.quick else (1, 2, 5, 10)
    variants = [name for name in VARIANTS if name != "b0_half"][: 1 if settings.quick else None]
    cases: dict[str, dict[str, tuple[Path, int]]] = {
        "pixels": {size_name(s): (student_file(s, files), 1) for s in settings.sizes},
        "cameras": {str(n): (student_file(size, files), n) for n in (1, 2, 4)},
        "members": {str(n): (_ensemble(n, small, files), 1) for n in members},
        "backbone": {name: (_backbone(name, small, files), 1) for name in variants},
    }
    growth = {
        quantity: {value: _run_case(*case, settings) for value, case in by_value.items()}
        for quantity, by_value in cases.items()
    }
    sizes = {"cameras": size, "members": small, "backbone": small}
    growth_at = {quantity: size_name(size) for quantity, size in sizes.items()}
    return {"details": {"growth": growth, "growth_at": growth_at}}


def _ensemble(members: int, size: tuple[int, int], folder: Path) -> Path:
    graph = EnsembleGraph([disturbed_member(k) for k in range(members)])
    return onnx_file(graph, f"ensemble{members}", size, folder)


def _backbone(variant: str, size: tuple[int, int], folder: Path) -> Path:
    network = SegDepthFormer(variant)
    network.init_depth(20.0)
    return student_file(size, folder, network, f"random-{variant}")


def _run_case(path: Path, cameras: int, settings: BenchSettings) -> dict[str, Any]:
    options = (path, cameras, settings.threads, settings.repetitions)
    try:
        case = run_program("emu_core.bench.growth_case", *options)
    except ProgramError as error:
        return {"milliseconds": missing(str(error))}
    return {"milliseconds": summarize(case["milliseconds"]), "peak_rss_mb": case["rss_mb"]}
