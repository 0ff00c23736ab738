"""What runs in turn at one size: functions of a fixed image, and why others are missing."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emu_core.bench.files import exported, fixed_image, shipped_network, student_file
from emu_core.bench.sampled_graphs import DropoutGraph, EnsembleGraph
from emu_core.bench.settings import Settings
from emu_core.methods.deep_ensemble import DeepEnsemble
from emu_core.methods.mc_dropout import MCDropout
from emu_core.methods.registry import Method
from emu_core.methods.uncertainty import normalized_entropy
from emu_core.networks import SegDepthFormer, normalize
from emu_core.networks.encoder import find_variant
from emu_core.runtime.model_file import open_session
from emu_core.runtime.perceiver import PROVIDERS, Perceiver, session_options

STUDENT = "student, {}"
HF_ORT, HF_EAGER = "SegFormer of transformers, ort cpu", "SegFormer of transformers, eager torch"
TWO_ORT = "SegFormer + DepthFormer, ort cpu"
ENSEMBLE_ORT, ENSEMBLE_EAGER = "Deep Ensemble, ort cpu", "Deep Ensemble, eager torch"
DROPOUT_ORT, DROPOUT_EAGER = "MC Dropout, ort cpu", "MC Dropout, eager torch"
TORCH_UNCERTAINTY = "torch-uncertainty's SegFormer ensemble, eager torch"


@dataclass
class Contestants:
    """Functions that answer one image each, by name, and reasons of those that are missing."""

    run: dict[str, Callable[[], Any]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def entering(self, name: str) -> Iterator[None]:
        """What is raised inside says why this contestant is missing."""
        try:
            yield
        except Exception as error:  # whatever one of them lacks, the others run
            self.missing[name] = f"{type(error).__name__}: {_in_short(str(error))}"


def _in_short(message: str) -> str:
    """A message's first sentence, on one line, without the benchmark's own files."""
    sentence = " ".join(message.split()).partition(". ")[0]
    return re.sub(r" for \S+\.onnx", "", sentence)


def gather(size: tuple[int, int], settings: Settings) -> Contestants:
    """The student on every provider and the plain network; at the compared size, all others."""
    found, image = Contestants(), fixed_image(size)
    files, threads = settings.output / "models", settings.threads
    path = student_file(size, files)
    for provider in PROVIDERS:
        with found.entering(name := STUDENT.format(provider)):
            found.run[name] = _perceiver(path, provider, threads, image)
    with found.entering(HF_ORT):
        file = exported(PlainSegmentation(), "hf-segformer", size, files)
        found.run[HF_ORT] = _session(file, threads, image)
    with found.entering(HF_EAGER):
        found.run[HF_EAGER] = _eager(PlainSegmentation().eval(), image)
    if size == settings.compared:
        _add_others(found, size, settings, image)
    return found


def _add_others(
    found: Contestants, size: tuple[int, int], settings: Settings, image: np.ndarray
) -> None:
    files, threads, number = settings.output / "models", settings.threads, settings.members
    members = [disturbed_member(k) for k in range(number)]
    literal = [disturbed_member(k, folded=False) for k in range(number)]
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
    with found.entering(TWO_ORT):
        file = exported(TwoNetworks(), "two-networks", size, files)
        found.run[TWO_ORT] = _session(file, threads, image)
    with found.entering(ENSEMBLE_ORT):
        file = exported(EnsembleGraph(members), f"ensemble{number}", size, files)
        found.run[ENSEMBLE_ORT] = _session(file, threads, image)
    with found.entering(DROPOUT_ORT):
        graph = DropoutGraph(members[0], number, size)
        file = exported(graph, f"mcd{number}", size, files)
        found.run[DROPOUT_ORT] = _session(file, threads, image)
    found.run[ENSEMBLE_EAGER] = _method(DeepEnsemble(literal), batch)
    found.run[DROPOUT_EAGER] = _method(MCDropout(literal[0], number), batch)
    with found.entering(TORCH_UNCERTAINTY):
        found.run[TORCH_UNCERTAINTY] = _torch_uncertainty(number, batch)


def _perceiver(path: Path, provider: str, threads: int, image: np.ndarray) -> Callable[[], object]:
    perceiver = Perceiver(path, provider=provider, threads=threads)
    perceiver.verify()  # a faster engine that answers otherwise is none
    return lambda: perceiver.perceive(image)


def _session(path: Path, threads: int, image: np.ndarray) -> Callable[[], object]:
    # The student's own options.
    session = open_session(path, session_options(threads), ["CPUExecutionProvider"])
    name, batch = session.get_inputs()[0].name, image[np.newaxis]
    return lambda: session.run(None, {name: batch})


def _eager(module: nn.Module, image: np.ndarray) -> Callable[[], object]:
    batch = torch.from_numpy(image)[None]

    def run() -> object:
        with torch.inference_mode():
            return module(batch)

    return run


def _method(method: Method, batch: Tensor) -> Callable[[], object]:
    """The paper's way: full-resolution softmax, mean and spread, then labels and entropy."""

    def run() -> object:
        with torch.inference_mode():
            prediction = method(batch)
            assert prediction.probabilities is not None and prediction.depth_variance is not None
            return (
                prediction.probabilities.argmax(1),
                normalized_entropy(prediction.probabilities),
                prediction.depth_variance.sqrt(),
            )

    return run


def disturbed_member(seed: int, folded: bool = True) -> SegDepthFormer:
    """The shipped network, all weights disturbed; `folded` as in `AllMLPDecoder`.

    Members of equal weights would be one member: ONNX Runtime computes what is common once.
    """
    shipped = shipped_network()
    member = SegDepthFormer(shipped.variant, CLASSES, folded=folded)
    member.load_state_dict(copy.deepcopy(shipped.state_dict()))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in member.parameters():
            weight.mul_(1 + 0.01 * torch.randn(weight.shape, generator=generator))
    return member.eval()


def _torch_uncertainty(members: int, batch: Tensor) -> Callable[[], object]:
    from torch_uncertainty.methods import deep_ensembles
    from torch_uncertainty.models.segmentation.segformer import seg_former

    networks = [seg_former(CLASSES, arch=0) for _ in range(members)]
    ensemble = deep_ensembles(networks, task="segmentation", reset_model_parameters=False).eval()
    image = batch.float() / 255

    def run() -> object:
        with torch.inference_mode():
            raw = ensemble(image)  # (members, C, H/4, W/4)
            full = nn.functional.interpolate(raw, image.shape[2:], mode="bilinear")
            mean = full.softmax(1).mean(0, keepdim=True)
            return mean.argmax(1), normalized_entropy(mean)

    return run


CLASSES = 19


def hugging_face(variant: str = "b0", outputs: int = CLASSES) -> nn.Module:
    """Transformers' SegFormer with the sizes of a variant, from a configuration alone.

    ImportError without transformers.
    """
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    sizes = find_variant(variant)
    config = SegformerConfig(  # type: ignore[call-arg]
        hidden_sizes=list(sizes.widths),
        depths=list(sizes.depths),
        decoder_hidden_size=sizes.decoder_width,
        num_labels=outputs,
    )
    return SegformerForSemanticSegmentation(config).eval()


class PlainSegmentation(nn.Module):
    """Transformers' SegFormer: labels (1, H, W) and nothing else."""

    def __init__(self, variant: str = "b0") -> None:
        super().__init__()
        self.network = hugging_face(variant)

    def forward(self, image: Tensor) -> Tensor:
        return _upsampled(self.network, image).argmax(1)


class TwoNetworks(nn.Module):
    """A SegFormer and a DepthFormer of its own encoder: labels, depth and its deviation."""

    def __init__(self, variant: str = "b0") -> None:
        super().__init__()
        self.segmentation, self.depth = hugging_face(variant), hugging_face(variant, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        labels = _upsampled(self.segmentation, image).argmax(1)
        mean, variance = _upsampled(self.depth, image).unbind(1)
        return labels, F.relu(mean), F.softplus(variance).sqrt()


def _upsampled(network: nn.Module, image: Tensor) -> Tensor:
    raw = network(normalize(image.permute(0, 3, 1, 2))).logits  # (1, C, H/4, W/4)
    return F.interpolate(raw, image.shape[1:3], mode="bilinear", align_corners=False)
