"""One pass of one network: the single network, the student and the student's control."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from emu_core.methods.base import NetworkMethod, image_size, to_input
from emu_core.methods.prediction import Prediction, to_prediction
from emu_core.methods.registry import METHODS, LoadOptions, MethodKind
from emu_core.networks.models import Network
from emu_core.networks.weights import load_model


class SingleNetwork(NetworkMethod):
    """One pass of one network.

    Its depth variance has no aleatoric and epistemic part: a student learns the sum of its
    teacher's two parts, which cannot be split again.
    """

    def __init__(self, network: Network) -> None:
        super().__init__([network])

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Prediction:
        return to_prediction(self.networks[0](to_input(images)), image_size(images))


def _load(paths: Sequence[Path], options: LoadOptions) -> SingleNetwork:
    return SingleNetwork(load_model(paths[0])[0].to(options.device))


METHODS.add("single", MethodKind("single network", _load, color="#777777"))
METHODS.add(
    "control",
    MethodKind("control: student's training, no teacher", _load, "control", color="#b5651d"),
)
METHODS.add("student", MethodKind("student", _load, "student", color="#d62728"))
