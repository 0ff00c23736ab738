"""From a network's output to the maps of a Perception: as modules for the graph, and checks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emu_core.adapting.foreign import AdaptError, Foreign
from emu_core.adapting.options import Depth, Segmentation
from emu_core.labels import NO_CLASSES, ClassTable
from emu_core.training.export import ClassMaps, DepthMarks, upsampled

_TINY = 1e-30  # below it, a probability counts as this much


@dataclass(frozen=True)
class Networks:
    """The networks of a model file, with their options; at least one of them.

    Attributes:
        classes: Classes of the segmentation.
        channels_last: Whether the segmentation's output is (1, h, w, C).
    """

    segmentation: tuple[Foreign, Segmentation] | None
    depth: tuple[Foreign, Depth] | None
    classes: ClassTable = NO_CLASSES
    channels_last: bool = False

    @property
    def all(self) -> list[tuple[Foreign, Segmentation | Depth]]:
        return [pair for pair in (self.segmentation, self.depth) if pair is not None]

    @property
    def size(self) -> tuple[int, int]:
        """Input size of the model file: that of the first network."""
        return self.all[0][0].size

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs of the model file."""
        maps = ["labels", "label_uncertainty"] if self.segmentation else []
        return [*maps, "depth"] if self.depth else maps


def class_axis(network: Foreign, options: Segmentation, classes: ClassTable) -> int:
    """Return the axis of the classes in the output, 1 or 3.

    Raises:
        AdaptError: The output is not one score for each class and pixel.
    """
    where, shape = f"{network.path}: its output {network.output}", network.black.shape
    if len(shape) <= 2:
        raise AdaptError(
            f"{where} has the shape {shape}: this is a classifier of whole images, but "
            "segmentation needs (1, C, h, w)."
        )
    dtype = network.black.dtype.name
    if dtype not in ("float32", "float16"):
        raise AdaptError(
            f"{where} is a label map ({dtype}), which has no uncertainty: export the network "
            "without its final argmax."
        )
    axes = [axis for axis in (1, 3) if len(shape) == 4 and shape[axis] == len(classes)]
    if not axes or shape[0] != 1:
        raise AdaptError(
            f"{where} has the shape {shape}, which is no score for each of the {len(classes)} "
            f"classes of {classes.dataset}: give the class table of this network with "
            "--segmentation.classes."
        )
    return axes[0] if len(axes) == 1 else {"nchw": 1, "nhwc": 3}[network.layout]


def check_depth(network: Foreign, options: Depth) -> None:
    """Refuse an output that is not one depth for each pixel, or cannot be metres; AdaptError."""
    where, shape = f"{network.path}: its output {network.output}", network.black.shape
    if len(shape) <= 2 and 1 in shape:
        raise AdaptError(
            f"{where} has the shape {shape}: this is a classifier of whole images, but depth "
            "needs (1, 1, h, w)."
        )
    plane = [n for n in shape if n != 1]
    if len(plane) != 2 or len(shape) > 4:
        raise AdaptError(
            f"{where} has the shape {shape}, but depth has one value for each pixel, "
            "(1, 1, h, w) or (1, h, w): choose another output, or another network."
        )
    if options.values is None:
        raise AdaptError(
            f"{network.path}: say what it gives with --depth.values metres, disparity or relative."
        )
    if options.values != "metres" and options.scale is None:
        raise AdaptError(
            f"{network.path} gives {options.values} values, which are no metres: give "
            "--depth.scale, for disparity in pixels the baseline in metres times the focal length "
            "in pixels."
        )


def depth_plane(raw: Tensor) -> Tensor:
    """View an output of depth as float (1, 1, h, w)."""
    height, width = [n for n in raw.shape if n != 1]
    return raw.float().reshape(1, 1, height, width)


def to_metres(values: Tensor, options: Depth) -> Tensor:
    """Convert values of a depth network to metres; see `options.Depth`."""
    scale = 1.0 if options.scale is None else options.scale
    if options.values != "disparity":
        return (values + options.shift) * scale
    # Small and negative disparities are far: all beyond max_depth is +Inf later.
    return scale / (values + options.shift).clamp(min=scale / (2 * options.max_depth))


class Before(nn.Module):
    """uint8 (1, H, W, 3), RGB → the input of each network."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.size = networks.size
        self.networks = networks.all
        for number, (_, options) in enumerate(self.networks):
            scale, shift = options.affine
            self.register_buffer(f"scale{number}", torch.tensor(scale))
            self.register_buffer(f"shift{number}", torch.tensor(shift))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._input(number, image) for number in range(len(self.networks)))

    def _input(self, number: int, image: Tensor) -> Tensor:
        network, options = self.networks[number]
        is_bytes = network.dtype.__name__ == "uint8"
        x = image.permute(0, 3, 1, 2)
        if options.channels == "bgr":
            x = x[:, [2, 1, 0]]
        if network.size != self.size:
            x = upsampled(x.float(), network.size)
            x = x.round().to(torch.uint8) if is_bytes else x
        if not is_bytes:
            scale, shift = getattr(self, f"scale{number}"), getattr(self, f"shift{number}")
            x = x.float() * scale.view(3, 1, 1) + shift.view(3, 1, 1)
        if network.layout == "nhwc":
            x = x.permute(0, 2, 3, 1)
        return x.half() if network.dtype.__name__ == "float16" else x


class After(nn.Module):
    """The outputs of the networks → the maps (H, W)."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.networks, self.size = networks, networks.size
        self.classes = (
            ClassMaps(len(networks.classes), self.size) if networks.segmentation else None
        )
        farthest = networks.depth[1].max_depth if networks.depth else 0.0
        self.marks = DepthMarks(networks.classes.sky, farthest)

    def forward(self, *raw: Tensor) -> tuple[Tensor, ...]:
        labels, maps = None, []
        if self.classes is not None and self.networks.segmentation is not None:
            scores = raw[0].permute(0, 3, 1, 2) if self.networks.channels_last else raw[0]
            scores = upsampled(scores.float(), self.size)
            if self.networks.segmentation[1].scores == "probabilities":
                scores = scores.clamp(min=_TINY).log()
            labels, uncertainty = self.classes.label(scores.reshape(scores.shape[1], -1))
            maps = [labels.to(torch.uint8), uncertainty]
        if self.networks.depth is not None:
            values = upsampled(depth_plane(raw[-1]), self.size)[0, 0]
            depth = to_metres(values, self.networks.depth[1])
            maps.append(depth + self.marks(depth, labels))
        return tuple(maps)
