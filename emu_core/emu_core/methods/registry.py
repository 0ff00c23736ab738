"""The registry of methods: how each is loaded, and which networks are trained for it.

    method = load_method("de", ["m0.safetensors", "m1.safetensors"], LoadOptions(in_memory=True))
    prediction = method(images)  # images uint8 (N, 3, H, W)

A new method is one module that adds a `MethodKind` to `METHODS`, and one line that imports it in
`emu_core/methods/__init__.py`, or its name in the environment variable EMU_PLUGINS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from emu_core.methods.prediction import Prediction
from emu_core.registry import Registry

Method = Callable[[Tensor], Prediction]
"""Function of RGB images, uint8 (N, 3, H, W), that predicts at H × W without gradients."""

Networks = Literal["network", "members", "heads", "student", "control"]
"""What is trained for a method: one network on ground truth, the members of an ensemble, new heads
on a frozen trunk, a student of an ensemble, or the student's control without a teacher."""


@dataclass(frozen=True)
class LoadOptions:
    """How a method is loaded.

    Args:
        samples: Number of samples of a method that draws samples.
        seed: Seed of these samples.
        in_memory: Keep all members of an ensemble in memory instead of reading each at every call.
        device: Where the networks run; the images must be there, too.
    """

    samples: int = 10
    seed: int = 0
    in_memory: bool = False
    device: str | torch.device = "cpu"


@dataclass(frozen=True)
class MethodKind:
    """A kind of method.

    Args:
        heading: Name in tables.
        load: Function that builds the method from its files.
        networks: Networks that are trained for it.
        takes_all_files: Whether one method consists of several files, as an ensemble does;
            otherwise each file is one seed of the method.
        draws_samples: Whether predictions depend on `LoadOptions.samples` and `seed`.
        color: Color in plots; None takes one of a palette.
        beside: Function from a file to another one beside it that the method needs as well; None
            if it needs no other.
    """

    heading: str
    load: Callable[[Sequence[Path], LoadOptions], Method]
    networks: Networks = "network"
    takes_all_files: bool = False
    draws_samples: bool = False
    color: str | None = None
    beside: Callable[[Path], Path] | None = None


METHODS: Registry[MethodKind] = Registry("method")
"""Methods by the names that commands and configurations use."""


def load_method(
    kind: str, paths: Sequence[str | Path], options: LoadOptions = LoadOptions()
) -> Method:
    """Load a method from its files.

    Args:
        kind: Name in `METHODS`.
        paths: One file, or all members of an ensemble.
        options: Samples, seed, memory, device.

    Raises:
        RegistryError: There is no such method.
        WeightsError: A file is missing, damaged or of another kind.
        ValueError: A wrong number of files or samples.
    """
    method = METHODS[kind]
    if len(paths) != 1 and not method.takes_all_files:
        raise ValueError(f"Expected one file for method {kind!r}, but got {len(paths)}.")
    return method.load([Path(path) for path in paths], options)
