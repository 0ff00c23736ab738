"""Tensors that training/fit_features.py fits for a network, in a file beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from emu_core.files import write_atomically
from emu_core.networks.weights import WeightsError, read_tensors


@dataclass(frozen=True)
class FittedFile:
    """A kind of file beside the weights.

    Args:
        name: What distinguishes the file: NAME in last.NAME.safetensors.
        content: What it holds, for messages.
    """

    name: str
    content: str

    def path(self, weights: Path) -> Path:
        """Path of the file of some weights."""
        return weights.with_name(f"{weights.stem}.{self.name}.safetensors")

    def save(self, tensors: Mapping[str, Tensor], weights: Path) -> Path:
        """Write the file; returns its path."""
        path = self.path(weights)
        write_atomically(path, lambda part: save_file(dict(tensors), str(part)))
        return path

    def read(self, method: str, weights: Path) -> dict[str, Tensor]:
        """Read the tensors for a method; WeightsError if the file is missing or damaged."""
        path = self.path(weights)
        if not path.is_file():
            raise WeightsError(
                f"{method} needs {self.content}, but there is no {path}. Compute it: python "
                f"training/fit_features.py --weights {weights} --config "
                f"{weights.parent / 'config.yaml'}"
            )
        return read_tensors(path)
