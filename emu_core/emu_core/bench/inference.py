"""Compare the student with alternatives on the same images, threads and machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emu_core.bench.measurement import Contest, Series, missing, ratio, run_rounds, summarize
from emu_core.bench.models import (
    CLASSES,
    PlainSegmentation,
    TwoNetworks,
    disturbed_member,
    fixed_image,
    onnx_file,
    student_file,
)
from emu_core.bench.sampled_graphs import DropoutGraph, EnsembleGraph
from emu_core.bench.settings import BenchSettings, size_name
from emu_core.methods.deep_ensemble import DeepEnsemble
from emu_core.methods.mc_dropout import MCDropout
from emu_core.methods.registry import Method
from emu_core.methods.uncertainty import normalized_entropy
from emu_core.runtime.engines import session_options
from emu_core.runtime.model_file import INPUT, open_session
from emu_core.runtime.perceiver import PROVIDERS, Perceiver

STUDENT = "student, {}"
STUDENT_ORT = STUDENT.format("cpu")
HF_ORT, HF_EAGER = "SegFormer of transformers, ort cpu", "SegFormer of transformers, eager torch"
TWO_ORT = "SegFormer + DepthFormer, ort cpu"
ENSEMBLE_ORT, ENSEMBLE_EAGER = "Deep Ensemble, ort cpu", "Deep Ensemble, eager torch"
DROPOUT_ORT, DROPOUT_EAGER = "MC Dropout, ort cpu", "MC Dropout, eager torch"
TORCH_UNCERTAINTY = "torch-uncertainty's SegFormer ensemble, eager torch"
BEST, BEST_ORT = "the fastest student", "the fastest student in ONNX Runtime"

_ON_CPU = {
    BEST: ("cpu", "cpu-fused", "openvino", "openvino-bf16"),
    BEST_ORT: ("cpu", "cpu-fused"),
}
"""Providers that the fastest student, by its median, is chosen from."""

_RATIOS = {
    "student_ort_over_hf_ort": (BEST_ORT, HF_ORT),
    "student_best_over_hf_ort": (BEST, HF_ORT),
    "student_best_over_hf_eager": (BEST, HF_EAGER),
    "ensemble10_over_student_same_engine": (ENSEMBLE_ORT, STUDENT_ORT),
    "ensemble10_eager_over_student_best": (ENSEMBLE_EAGER, BEST),
    "mcd10_over_student_same_engine": (DROPOUT_ORT, STUDENT_ORT),
}


def measure_inference(settings: BenchSettings) -> dict[str, Any]:
    """Measure milliseconds by size and model, and the ratios."""
    torch.set_num_threads(settings.threads)
    times: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    for size in settings.sizes:
        models = collect_models(size, settings)
        series = run_rounds(models.functions, settings.repetitions, warm_up=2, clock=settings.time)
        times[size_name(size)] = {
            **{name: summarize(values) for name, values in series.items()},
            **{name: missing(reason) for name, reason in models.missing.items()},
        }
        if size == settings.ratio_size:
            ratios = ratios_of(series, models.missing)
    return {"ratios": ratios, "details": {"milliseconds": times}}


def ratios_of(series: Series, reasons: Mapping[str, str]) -> dict[str, Any]:
    """Compute the ratios of one size; null if one of the two models is missing.

    The students run on the CPU, like the alternatives.
    """
    fastest = {}
    for best, providers in _ON_CPU.items():
        students = [STUDENT.format(p) for p in providers if STUDENT.format(p) in series]
        fastest[best] = min(students, key=lambda name: summarize(series[name])["median"])
    ratios = {}
    for key, names in _RATIOS.items():
        over, under = (fastest.get(name, name) for name in names)
        absent = [f"{n}: {reasons.get(n, 'not run')}" for n in (over, under) if n not in series]
        if absent:
            ratios[key] = missing("; ".join(absent))
        else:
            ratios[key] = ratio(series[over], series[under]) | {"of": [over, under]}
    return ratios


def collect_models(size: tuple[int, int], settings: BenchSettings) -> Contest:
    """Prepare the student and a plain SegFormer; at the size of the ratios, also all other models.

    Each function processes one image.
    """
    contest, image = Contest(), fixed_image(size)
    path = student_file(size, settings.models)
    for provider in PROVIDERS:
        student = partial(_perceiver, path, provider, settings.threads, image)
        contest.add(STUDENT.format(provider), student)
    graph = partial(_graph, settings, image)
    contest.add(HF_ORT, partial(graph, "hf-segformer", PlainSegmentation))
    contest.add(HF_EAGER, partial(_eager, torch.from_numpy(image)[None]))
    if size == settings.ratio_size:
        number = settings.members
        members = [disturbed_member(k) for k in range(number)]
        literal = [disturbed_member(k, folded=False) for k in range(number)]
        ensemble = partial(EnsembleGraph, members)
        dropout = partial(DropoutGraph, members[0], number, size)
        contest.add(TWO_ORT, partial(graph, "two-networks", TwoNetworks))
        contest.add(ENSEMBLE_ORT, partial(graph, f"ensemble{number}", ensemble))
        contest.add(DROPOUT_ORT, partial(graph, f"mcd{number}", dropout))
        batch = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
        contest.functions[ENSEMBLE_EAGER] = whole_method(DeepEnsemble(literal), batch)
        contest.functions[DROPOUT_EAGER] = whole_method(MCDropout(literal[0], number), batch)
        contest.add(TORCH_UNCERTAINTY, partial(_torch_uncertainty, number, batch))
    return contest


def _perceiver(path: Path, provider: str, threads: int, image: np.ndarray) -> Callable[[], object]:
    perceiver = Perceiver(path, provider=provider, threads=threads)
    perceiver.verify()  # an engine with wrong outputs is not compared
    return lambda: perceiver.perceive(image)


def _graph(
    settings: BenchSettings, image: np.ndarray, name: str, build: Callable[[], nn.Module]
) -> Callable[[], object]:
    path = onnx_file(build(), name, image.shape[:2], settings.models)
    # The student has the same options.
    session = open_session(path, session_options(settings.threads), ["CPUExecutionProvider"])
    return lambda: session.run(None, {INPUT: image[np.newaxis]})


def _eager(batch: Tensor) -> Callable[[], object]:
    network = PlainSegmentation().eval()
    return torch.inference_mode()(lambda: network(batch))


def whole_method(method: Method, batch: Tensor) -> Callable[[], object]:
    """Run a method as in the paper: moments at full resolution, then labels and entropy.

    Args:
        method: On the device of `batch`.
        batch: uint8 (1, 3, H, W).
    """

    @torch.inference_mode()
    def run() -> object:
        prediction = method(batch)
        assert prediction.probabilities is not None and prediction.depth_variance is not None
        labels, std = prediction.probabilities.argmax(1), prediction.depth_variance.sqrt()
        return labels, normalized_entropy(prediction.probabilities), std

    return run


def _torch_uncertainty(members: int, batch: Tensor) -> Callable[[], object]:
    from torch_uncertainty.methods import deep_ensembles
    from torch_uncertainty.models.segmentation.segformer import seg_former

    networks = [seg_former(CLASSES, arch=0) for _ in range(members)]
    ensemble = deep_ensembles(networks, task="segmentation", reset_model_parameters=False).eval()
    image = batch.float() / 255

    @torch.inference_mode()
    def run() -> object:
        raw = ensemble(image)  # (members, C, H/4, W/4)
        full = nn.functional.interpolate(raw, image.shape[2:], mode="bilinear")
        mean = full.softmax(1).mean(0, keepdim=True)
        return mean.argmax(1), normalized_entropy(mean)

    return run
