"""Files that a run makes once and finds again: models of other sizes, peers exported to ONNX."""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from emu_core.networks import SegDepthFormer
from emu_core.networks.exported import load_exported
from emu_core.runtime.model_file import INPUT, OPSET, default_model, read_info
from emu_core.training.export import export


@functools.lru_cache
def shipped_network() -> SegDepthFormer:
    """The network of the model file that comes with emu_core."""
    return load_exported(default_model())


def fixed_image(size: tuple[int, int]) -> np.ndarray:
    """The shipped model's own reference picture, uint8 (H, W, 3), resized."""
    png = np.frombuffer(read_info(default_model()).reference.png, np.uint8)
    decoded = cv2.imdecode(png, cv2.IMREAD_COLOR)
    assert decoded is not None  # the file's own reference is checked whenever it is read
    picture = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)


def student_file(
    size: tuple[int, int], folder: Path, network: SegDepthFormer | None = None, name: str = ""
) -> Path:
    """The student exported at a size, its parity with torch checked; shipped weights unless said.

    It does not depend on how the shipped file itself was exported.
    """
    network = shipped_network() if network is None else network
    info = read_info(default_model())

    def write(path: Path) -> None:
        export(
            network,
            path,
            reference_image=fixed_image(size),
            depth_range=info.depth_range,
            canonical_focal=info.canonical_focal * size[1] / info.input_size[1],
            horizontal_fov=info.horizontal_fov,
            training_data=info.training_data,
            metrics={},
            classes=info.classes,
            input_size=size,
            name="student",
        )

    return cached(folder, name or "student", size, write)


def exported(module: nn.Module, name: str, size: tuple[int, int], folder: Path) -> Path:
    """A peer, which takes uint8 (1, H, W, 3), as an ONNX file."""

    def write(path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(),
                (torch.from_numpy(fixed_image(size))[None],),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
            )

    return cached(folder, name, size, write)


def cached(folder: Path, name: str, size: tuple[int, int], write: Callable[[Path], None]) -> Path:
    """A file that `write` makes, unless it is there from the same code and the same weights."""
    path = folder / f"{name}-{size[0]}x{size[1]}-{_state()}.onnx"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        write(unfinished)
        unfinished.rename(path)
    return path


@functools.lru_cache
def _state() -> str:
    """A digest of all that the files depend on: emu_core's code and the shipped weights."""
    here = Path(__file__).parent
    root = here.parent
    sources = [*here.glob("*.py"), root / "training/export.py", root / "methods/prediction.py"]
    sources += [*(root / "networks").glob("*.py"), default_model()]
    digest = hashlib.sha256(torch.__version__.encode())
    for source in sorted(sources):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]
