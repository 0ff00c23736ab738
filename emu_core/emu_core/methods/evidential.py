"""Evidential networks: one pass, whose evidence tells the uncertainties apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from emu_core.methods.base import NetworkMethod, image_size, to_input
from emu_core.methods.prediction import Prediction, activate, upsample
from emu_core.methods.registry import METHODS, LoadOptions, MethodKind
from emu_core.networks.evidence import depth_evidence
from emu_core.networks.models import EvidentialOutputs, Network
from emu_core.networks.weights import WeightsError, load_model


class EvidentialNetwork(NetworkMethod):
    """One pass of one evidential network (`networks.evidence`).

    Pixels are ranked by the vacuity C/Σα of the class, 0 to 1 (Sensoy et al., NeurIPS 2018): how
    little evidence there is for any class. Depth has both parts of its variance.

    Raises:
        ValueError: The network is not evidential.
    """

    def __init__(self, network: Network) -> None:
        if not network.evidential:
            raise ValueError("This network is not evidential: train with architecture.evidential.")
        super().__init__([network])

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Prediction:
        raw = self.networks[0](to_input(images))
        assert isinstance(raw, EvidentialOutputs)
        full = upsample(raw, image_size(images))
        prediction = activate(full)
        if full.logits is not None:
            concentration = full.logits.exp().sum(dim=1, keepdim=True)
            prediction = replace(prediction, class_score=full.logits.shape[1] / concentration)
        if full.evidence is None:
            return prediction
        evidence = depth_evidence(full.evidence)
        return replace(
            prediction,
            depth_variance=evidence.aleatoric + evidence.epistemic,
            depth_aleatoric=evidence.aleatoric,
            depth_epistemic=evidence.epistemic,
        )


def _load(paths: Sequence[Path], options: LoadOptions) -> EvidentialNetwork:
    network = load_model(paths[0])[0].to(options.device)
    try:
        return EvidentialNetwork(network)
    except ValueError as error:
        raise WeightsError(f"{paths[0]}: {error}") from error


METHODS.add("evidential", MethodKind("evidential network", _load))
