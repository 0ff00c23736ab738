"""Options of `training/adapt.py`: the networks, what they expect and what they give."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from emu_core.networks import IMAGENET_MEAN, IMAGENET_STD
from emu_core.options import OneOf, Range, above, allowed

Triple = tuple[float, float, float]

_PIXELS = allowed(Range(1))


@dataclass(frozen=True)
class Source:
    """An ONNX network, and the input that it expects.

    Args:
        file: ONNX file.
        size: Height and width of its input; only needed, and only allowed, if they are dynamic.
        layout: Order of the axes of its input: nchw or nhwc; null: nchw if axis 1 has length 3,
            nhwc if axis 3 has.
        channels: Order of the colours: rgb or bgr.
        factor: Pixels, 0 to 255, are first multiplied by it; null: 1/255.
        mean: Then the mean of each channel, in the network's order, is subtracted; null: that of
            ImageNet.
        std: Then they are divided by the deviation of each channel; null: that of ImageNet.
        output: Name of the output to use; null: the only one.
    """

    file: Path | None = None
    size: tuple[int, int] | None = field(default=None, metadata=_PIXELS)
    layout: str | None = field(default=None, metadata=allowed(OneOf(("nchw", "nhwc"))))
    channels: str = field(default="rgb", metadata=allowed(OneOf(("rgb", "bgr"))))
    factor: float | None = field(default=None, metadata=above(0))
    mean: Triple | None = None
    std: Triple | None = field(default=None, metadata=above(0))
    output: str | None = None

    @property
    def normalizes(self) -> bool:
        """Whether an option of the normalisation is given."""
        return any(value is not None for value in (self.factor, self.mean, self.std))

    @property
    def affine(self) -> tuple[Triple, Triple]:
        """Scale and shift of pixels from 0 to 255 for each channel in the network's order."""
        factor = 1 / 255 if self.factor is None else self.factor
        mean, std = self.mean or IMAGENET_MEAN, self.std or IMAGENET_STD
        if self.channels == "bgr":
            mean = self.mean or IMAGENET_MEAN[::-1]
            std = self.std or IMAGENET_STD[::-1]
        (a, b, c), (r, s, t) = mean, std
        return (factor / r, factor / s, factor / t), (-a / r, -b / s, -c / t)


@dataclass(frozen=True)
class Segmentation(Source):
    """A network of segmentation.

    Args:
        classes: Class table: a name or a YAML file.
        scores: What it gives for each class: logits (before softmax) or probabilities.
    """

    classes: str | None = None
    scores: str = field(default="logits", metadata=allowed(OneOf(("logits", "probabilities"))))


@dataclass(frozen=True)
class Depth(Source):
    """A network of depth; v is its output.

    Args:
        values: What it gives: metres (depth = v), disparity (depth = scale / (v + shift)), or
            relative (depth = scale · (v + shift)), which grows with the distance.
        scale: For disparity in pixels the baseline in metres times the focal length in pixels;
            otherwise the factor that makes metres of it.
        shift: See `values`.
        focal: Focal length of the training's camera in pixels at the network's input size. Depth
            is then rescaled to other lenses; null: it is in metres for every lens.
        max_depth: Beyond it depth is +Inf, metres.
    """

    values: str | None = field(
        default=None, metadata=allowed(OneOf(("metres", "disparity", "relative")))
    )
    scale: float | None = field(default=None, metadata=above(0))
    shift: float = field(default=0.0, metadata=allowed(Range(-1e9)))
    focal: float | None = field(default=None, metadata=above(0))
    max_depth: float = field(default=200.0, metadata=above(0))


@dataclass(frozen=True)
class AdaptOptions:
    """Networks to wrap into one model file.

    Args:
        output: Model file to write.
        segmentation: Network of segmentation, if any.
        depth: Network of depth, if any.
        hugging_face: Folder or name of a Hugging Face model, which takes the place of
            `segmentation.file` or `depth.file`; for both, two with a comma between.
        images: Typical images, on which the file is compared with the original; the first one is
            stored in the file. Null: the one in the model that comes with emu_core.
        name: Name of the model; null: the file's.
        note: What people should know about it, for the metadata, e.g. its training data.
        license: Licence of the weights, for the metadata.
    """

    output: Path
    segmentation: Segmentation = field(default_factory=Segmentation)
    depth: Depth = field(default_factory=Depth)
    hugging_face: str | None = None
    images: list[Path] = field(default_factory=list)
    name: str | None = None
    note: str = ""
    license: str = ""
