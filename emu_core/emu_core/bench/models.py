"""Models of the benchmark: the student, copies with changed weights, and other networks.

ONNX files are exported once and reused until the code or the shipped weights change.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emu_core.files import digest, write_atomically
from emu_core.networks import SegDepthFormer, normalize
from emu_core.networks.encoder import find_variant
from emu_core.networks.exported import load_exported
from emu_core.runtime.model_file import INPUT, OPSET, default_model, read_info
from emu_core.training.export import export

CLASSES = 19
"""Classes of other networks, as many as those of the shipped model."""


@functools.lru_cache
def shipped_network() -> SegDepthFormer:
    """Load the network of the model file that comes with emu_core."""
    network = load_exported(default_model())
    assert isinstance(network, SegDepthFormer)
    return network


def disturbed_member(seed: int, folded: bool = True) -> SegDepthFormer:
    """Copy the shipped network with disturbed weights; `folded` as in `AllMLPDecoder`.

    ONNX Runtime would compute members of equal weights only once.
    """
    shipped = shipped_network()
    member = SegDepthFormer(shipped.variant, shipped.num_classes, folded=folded)
    member.load_state_dict(shipped.state_dict())  # copies the values
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in member.parameters():
            weight.mul_(1 + 0.01 * torch.randn(weight.shape, generator=generator))
    return member.eval()


def hugging_face(variant: str = "b0", outputs: int = CLASSES) -> nn.Module:
    """Build transformers' SegFormer of a variant, with random weights.

    Raises:
        ImportError: transformers is not installed.
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
    """Transformers' SegFormer: uint8 (1, H, W, 3) → labels (1, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = hugging_face()

    def forward(self, image: Tensor) -> Tensor:
        return _upsampled(self.network, image).argmax(1)


class TwoNetworks(nn.Module):
    """A SegFormer and a separate DepthFormer: labels, depth and its standard deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.segmentation, self.depth = hugging_face(), hugging_face(outputs=2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        labels = _upsampled(self.segmentation, image).argmax(1)
        mean, variance = _upsampled(self.depth, image).unbind(1)
        return labels, F.relu(mean), F.softplus(variance).sqrt()


def _upsampled(network: nn.Module, image: Tensor) -> Tensor:
    raw = network(normalize(image.permute(0, 3, 1, 2))).logits  # (1, C, H/4, W/4)
    return F.interpolate(raw, image.shape[1:3], mode="bilinear", align_corners=False)


def fixed_image(size: tuple[int, int]) -> np.ndarray:
    """Load the reference image of the shipped model, uint8 (H, W, 3), resized."""
    png = np.frombuffer(read_info(default_model()).reference.png, np.uint8)
    decoded = cv2.imdecode(png, cv2.IMREAD_COLOR)
    assert decoded is not None  # `read_info` has checked it
    image = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def student_file(
    size: tuple[int, int],
    folder: Path,
    network: SegDepthFormer | None = None,
    name: str = "student",
) -> Path:
    """Export a network at a size, by default the shipped one; checks its parity with torch."""
    info = read_info(default_model())

    def write(path: Path) -> None:
        export(
            network or shipped_network(),
            path,
            reference_image=fixed_image(size),
            depth_range=info.depth_range,
            canonical_focal=info.canonical_focal
            and info.canonical_focal * size[1] / info.input_size[1],
            horizontal_fov=info.horizontal_fov,
            training_data=info.training_data,
            metrics={},
            classes=info.classes,
            input_size=size,
            name="student",
        )

    return _cached(folder, name, size, write)


def onnx_file(module: nn.Module, name: str, size: tuple[int, int], folder: Path) -> Path:
    """Export a module that takes uint8 (1, H, W, 3)."""

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

    return _cached(folder, name, size, write)


def _cached(folder: Path, name: str, size: tuple[int, int], write: Callable[[Path], None]) -> Path:
    """Return a file; write it if it does not exist for this code and these weights."""
    path = folder / f"{name}-{size[0]}x{size[1]}-{_digest()}.onnx"
    if not path.is_file():
        write_atomically(path, write)
    return path


@functools.lru_cache
def _digest() -> str:
    """Digest everything that the files depend on: code, shipped weights and torch."""
    root = Path(__file__).parents[1]
    sources = [*root.glob("bench/*.py"), *root.glob("networks/*.py")]
    sources += [root / "training/export.py", root / "methods/prediction.py"]
    return digest([*sorted(sources), default_model(), torch.version.__file__])[:12]
