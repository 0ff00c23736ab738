"""Model files on the providers of a GPU: the results of the reference, and times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime

from emu_core.bench.gpu.checks import FailedError, GpuSettings, SkippedError, measure_ms, row
from emu_core.bench.models import fixed_image, student_file
from emu_core.bench.settings import size_name
from emu_core.runtime.batching import BatchEngine
from emu_core.runtime.engines import SessionEngine
from emu_core.runtime.model_file import INPUT, ModelError
from emu_core.runtime.perceiver import Perceiver, ProviderError

SIZES = ((384, 768), (512, 1024), (1024, 2048))
_PROVIDERS = {"cuda": ("cuda", "tensorrt", "tensorrt-fp16"), "cpu": ("cpu",)}


def sizes_of(settings: GpuSettings) -> tuple[tuple[int, int], ...]:
    """Image sizes that are measured."""
    return ((64, 128),) if settings.quick else SIZES


def check_engines(settings: GpuSettings) -> dict[str, Any]:
    """Check the shipped student at several sizes on each provider, and measure its time.

    Times are of `Perceiver.perceive`, which copies image and maps, of the session with inputs and
    outputs that stay on the device (IO binding), and of two and four images together, as the node
    computes those of several cameras.

    Raises:
        SkippedError: None of the providers is there.
        FailedError: A provider does not compute the reference outputs.
    """
    rows: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    for provider in _PROVIDERS[settings.device]:
        for size in sizes_of(settings):
            if settings.is_over:
                refused[f"{provider} {size_name(size)}"] = "the time was over"
                continue
            try:
                perceiver = Perceiver(
                    student_file(size, settings.output / "models"), provider=provider
                )
            except ProviderError as error:
                refused[provider] = str(error)
                break
            rows += _measured(perceiver, size, settings)
    if not rows:
        raise SkippedError("; ".join(f"{name}: {reason}" for name, reason in refused.items()))
    return {"rows": rows, "refused": refused}


def _measured(
    perceiver: Perceiver, size: tuple[int, int], settings: GpuSettings
) -> list[dict[str, Any]]:
    try:
        errors = perceiver.verify()
    except ModelError as error:
        raise FailedError(str(error)) from error
    image, name = fixed_image(size), f"{perceiver.provider} {size_name(size)}"
    ways: dict[str, Callable[[], object]] = {"perceive": lambda: perceiver.perceive(image)}
    engine = perceiver._engine
    if isinstance(engine, SessionEngine):
        ways["IO binding"] = _bound(engine.session, image, settings)
        for count in (2,) if settings.quick else (2, 4):
            ways[f"{count} images together"] = _together(engine, count, image)
    return [
        row(f"{name}, {way}", measure_ms(run, settings), **errors) for way, run in ways.items()
    ]


def _together(engine: SessionEngine, count: int, image: np.ndarray) -> Callable[[], object]:
    """Run a batch of images, which are copied to the device and back."""
    try:
        batch = BatchEngine(engine, count)
    except ModelError as error:
        raise FailedError(f"{count} images together on {engine.provider}: {error}") from error
    return lambda: batch.run([image] * count)


def _bound(
    session: onnxruntime.InferenceSession, image: np.ndarray, settings: GpuSettings
) -> Callable[[], object]:
    """Run a session on an image on the device; the maps stay there."""
    value = onnxruntime.OrtValue.ortvalue_from_numpy(image[np.newaxis], settings.device, 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input(INPUT, value)
    for output in session.get_outputs():
        binding.bind_output(output.name, settings.device)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run
