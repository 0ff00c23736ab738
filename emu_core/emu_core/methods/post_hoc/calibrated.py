"""One network with a temperature of its classes and a factor of its depth deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from emu_core.files import read_json, write_json
from emu_core.methods.base import NetworkMethod, image_size, to_input
from emu_core.methods.prediction import Prediction, activate, upsample
from emu_core.methods.registry import METHODS, LoadOptions, MethodKind
from emu_core.methods.uncertainty import normalized_entropy
from emu_core.networks.models import Network, RawOutputs
from emu_core.networks.weights import WeightsError, load_model
from emu_core.runtime import metadata
from emu_core.runtime.calibration import Calibration


class CalibratedNetwork(NetworkMethod):
    """One pass of one network; see `Calibration`."""

    def __init__(self, network: Network, calibration: Calibration) -> None:
        super().__init__([network])
        self.calibration = calibration

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Prediction:
        raw = upsample(self.networks[0](to_input(images)), image_size(images))
        found = self.calibration
        logits = None if raw.logits is None else raw.logits / found.temperature
        prediction = activate(RawOutputs(logits, raw.depth))
        if prediction.depth_variance is None:
            return prediction
        factor: float | Tensor = found.std_scale
        if found.std_doubt and prediction.probabilities is not None:
            factor = factor + found.std_doubt * normalized_entropy(prediction.probabilities)
        return replace(prediction, depth_variance=prediction.depth_variance * factor**2)


def calibration_file(weights: Path) -> Path:
    """Path of the calibration of a weights file."""
    return weights.with_name(f"{weights.stem}.calibration.json")


def save_calibration(calibration: Calibration, weights: Path) -> Path:
    """Write the calibration beside the weights; returns the path."""
    path = calibration_file(weights)
    write_json(path, asdict(calibration))
    return path


def load_calibration(weights: Path) -> Calibration:
    """Read the calibration beside the weights; WeightsError if there is none."""
    path = calibration_file(weights)
    advice = f"python training/calibrate.py --weights {weights} --config " + str(
        weights.parent / "config.yaml"
    )
    if not path.is_file():
        raise WeightsError(f"There is no calibration {path}. Compute it: {advice}")
    try:
        found = metadata.calibration(read_json(path))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is damaged ({error}). Compute it again: {advice}") from error
    if found is None:
        raise WeightsError(f"{path} is empty or damaged. Compute it again: {advice}")
    return found


def _load(paths: Sequence[Path], options: LoadOptions) -> CalibratedNetwork:
    calibration = load_calibration(paths[0])
    return CalibratedNetwork(load_model(paths[0])[0].to(options.device), calibration)


METHODS.add("calibrated", MethodKind("single network, calibrated", _load, beside=calibration_file))
