"""Networks in PyTorch on the device: times of inference, and of training at full crops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from emu_core.bench.gpu.checks import GpuSettings, measure_ms, peak_memory_mb, row
from emu_core.bench.gpu.engines import sizes_of
from emu_core.bench.inference import whole_method
from emu_core.bench.models import CLASSES, hugging_face
from emu_core.bench.settings import size_name
from emu_core.bench.training import training_step
from emu_core.methods.deep_ensemble import DeepEnsemble
from emu_core.methods.single import SingleNetwork
from emu_core.networks import SegDepthFormer, normalize

_VARIANTS = ("b0", "b2", "b5")
_CROP, _BATCH = (768, 768), 8  # those of Cityscapes


def measure_networks(settings: GpuSettings) -> dict[str, Any]:
    """Measure students, transformers' SegFormer and an ensemble of ten, in bfloat16.

    A method is timed from the uint8 image to labels, class uncertainty and deviation at full size;
    the SegFormer to labels. `graph`: the work is one CUDA graph.
    """
    members = 2 if settings.quick else 10
    rows: list[dict[str, Any]] = []
    for variant in _VARIANTS[:1] if settings.quick else _VARIANTS:
        for size in sizes_of(settings):
            name = f"{variant} {size_name(size)}"
            for kind, make in _kinds(variant, size, members, settings).items():
                if settings.is_over:
                    rows.append({"name": f"{name}, {kind}", "reason": "the time was over"})
                    continue
                rows += _timed(f"{name}, {kind}", make, settings)
    return {"rows": rows}


def measure_crops(settings: GpuSettings) -> dict[str, Any]:
    """Measure training steps at the crops of Cityscapes: images per second and peak memory."""
    size, batch = ((64, 128), 2) if settings.quick else (_CROP, _BATCH)
    rows = []
    for variant in _VARIANTS[:1] if settings.quick else _VARIANTS[:2]:
        name = f"{variant}, {batch} crops of {size_name(size)}"
        try:
            network = SegDepthFormer(variant, CLASSES)
            step = training_step(network, size, torch.bfloat16, settings.device, batch, fused=True)
            peak_memory_mb(settings)
            measured = measure_ms(step, settings)
            rate = 1e3 * batch / measured["median"]
            memory = peak_memory_mb(settings)
            rows.append(row(name, measured, images_per_s=rate, peak_memory_mb=memory))
        except torch.OutOfMemoryError as error:
            rows.append({"name": name, "reason": str(error).partition(".")[0]})
    return {"rows": rows}


def _kinds(
    variant: str, size: tuple[int, int], members: int, settings: GpuSettings
) -> dict[str, Callable[[], Callable[[], object]]]:
    """Functions that build what is timed, by name."""
    device = settings.device
    batch = torch.zeros(1, 3, *size, dtype=torch.uint8, device=device)

    def student() -> Callable[[], object]:
        return _half(whole_method(SingleNetwork(_network(variant, device)), batch), device)

    def ensemble() -> Callable[[], object]:
        networks = [_network(variant, device) for _ in range(members)]
        return _half(whole_method(DeepEnsemble(networks), batch), device)

    def segformer() -> Callable[[], object]:
        network = hugging_face(variant).to(device)

        def run() -> Tensor:
            raw = network(normalize(batch)).logits
            full = torch.nn.functional.interpolate(raw, size, mode="bilinear")
            return full.argmax(1)

        return _half(torch.inference_mode()(run), device)

    kinds = {"student": student, "SegFormer of transformers": segformer}
    if settings.on_gpu:
        kinds["student, graph"] = lambda: _graphed(student())
        kinds["SegFormer of transformers, graph"] = lambda: _graphed(segformer())
    return {**kinds, f"ensemble of {members}": ensemble}


def _network(variant: str, device: str) -> SegDepthFormer:
    return SegDepthFormer(variant, CLASSES).to(device).eval()


def _half(run: Callable[[], object], device: str) -> Callable[[], object]:
    def under_autocast() -> object:
        with torch.autocast(device, torch.bfloat16):
            return run()

    return under_autocast


def _graphed(run: Callable[[], object]) -> Callable[[], object]:
    """Record the work of a function as a CUDA graph."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # what is allocated at the first run must not be in the graph
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def _timed(
    name: str, make: Callable[[], Callable[[], object]], settings: GpuSettings
) -> list[dict[str, Any]]:
    """Time what `make` returns; a row with the reason if it does not run here."""
    try:
        return [row(name, measure_ms(make(), settings))]
    except (ImportError, RuntimeError) as error:  # no transformers, too little memory, no graph
        return [{"name": name, "reason": str(error).splitlines()[0]}]
