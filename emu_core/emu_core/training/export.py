"""Export a trained network to a model file for robots (`emu_core.runtime.model_file`).

The graph maps uint8 pixels to the maps of a Perception that the network predicts. Raw outputs are
upsampled first and then activated (`emu_core.methods.prediction`). `to_perception` defines the
maps; `_Graph` computes the same in fewer passes over memory. A file whose maps differ from torch's
is not written.
"""

from __future__ import annotations

import copy
import functools
import math
import subprocess
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emu_core.files import write_atomically
from emu_core.labels import DOUBTFUL, NO_CLASSES, ClassTable
from emu_core.methods.prediction import Prediction, to_prediction
from emu_core.methods.uncertainty import normalized_entropy
from emu_core.networks.models import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    VARIANCE_UNIT,
    Network,
    normalize,
)
from emu_core.runtime.fitting import check_image, fit_image, fit_pixels
from emu_core.runtime.metadata import PRECISIONS
from emu_core.runtime.model_file import (
    INPUT,
    IR_VERSION,
    LOGITS,
    OPSET,
    ModelInfo,
    parse_metadata,
    read_info,
    to_metadata,
)
from emu_core.runtime.parity import (
    FP16_TOLERANCES,
    FP32_TOLERANCES,
    Reference,
    encode_png,
    measure_errors,
    violations,
)
from emu_core.runtime.perceiver import Perceiver, Perception

TOLERANCES: dict[str, dict[str, float]] = {"fp32": FP32_TOLERANCES, "fp16": FP16_TOLERANCES}

_MAX_DIGITS = 64  # of base 4 that do not overflow single precision
_MIN_HALF_SIZE = 1024  # weights with fewer elements stay in single precision


class ExportError(RuntimeError):
    """The maps of the exported file differ from torch's. The message has the measured errors."""


def export(
    model: Network,
    path: Path,
    *,
    reference_image: np.ndarray,
    depth_range: tuple[float, float] | None,
    canonical_focal: float | None,
    horizontal_fov: tuple[float, float] | None,
    training_data: str,
    metrics: Mapping[str, float],
    classes: ClassTable,
    input_size: tuple[int, int] = (256, 512),
    output_size: tuple[int, int] | None = None,
    precision: str = "fp32",
    name: str | None = None,
    commit: str | None = None,
) -> ModelInfo:
    """Write a network to a model file.

    Args:
        model: A trained network; it is copied, not changed.
        path: File to write. An existing file is replaced only if the new one passes the checks.
        reference_image: A typical image, RGB, uint8 (h, w, 3), resized to `input_size`. It is
            stored in the file with the network's maps for it.
        depth_range: Nearest and farthest depth in training, canonical metres. A mean beyond the
            farthest becomes +Inf, like the sky. Not used without depth.
        canonical_focal: Focal length that depth was learned for, pixels at `input_size`. Not used
            without depth.
        horizontal_fov: Smallest and largest horizontal field of view in training, degrees; None
            if unknown.
        training_data: Description of the training data.
        metrics: Metrics on held-out data.
        classes: Classes of the labels. Not used without segmentation.
        input_size: (height, width) of the input.
        output_size: (height, width) of the maps; None for the input's.
        precision: "fp32"; or "fp16", which stores weights in half precision: half the file size,
            the same arithmetic.
        name: Name of the model; None for the file name without its suffix.
        commit: Commit of the code that trained it; None for HEAD of this repository.

    Returns:
        Metadata of the written file.

    Raises:
        ValueError: The arguments do not fit together.
        ExportError: The maps of ONNX Runtime differ from torch's by more than the tolerances.
    """
    output_size = output_size or input_size
    if precision not in PRECISIONS:
        raise ValueError(
            f"Expected argument `precision` to be one of {PRECISIONS}, but got {precision!r}"
        )
    if model.segmentation_decoder is None:
        classes = NO_CLASSES
    if model.depth_decoder is None:
        depth_range = canonical_focal = None
    if (model.num_classes or 0) != len(classes):
        raise ValueError(
            f"Expected argument `classes` to have the network's {model.num_classes} classes, but "
            f"got {len(classes)} ({classes.dataset})"
        )
    check_image(reference_image)
    network = copy.deepcopy(model).float().cpu().eval()
    height, width = reference_image.shape[:2]
    fitting = fit_image((height, width), input_size, output_size)
    image = fit_pixels(reference_image, fitting, input_size)
    with torch.inference_mode():
        raw = network(normalize(torch.from_numpy(image).permute(2, 0, 1)[None]))
        prediction = to_prediction(raw, output_size)
    farthest = depth_range[1] if depth_range else math.inf
    expected = to_perception(prediction, classes.sky, farthest).maps()
    info = ModelInfo(
        name=name or path.stem,
        classes=classes,
        depth_range=depth_range,
        canonical_focal=canonical_focal,
        horizontal_fov=horizontal_fov,
        training_data=training_data,
        commit=head_commit() if commit is None else commit,
        metrics=metrics,
        precision=precision,
        tolerances=TOLERANCES,
        reference=Reference.sample(encode_png(image), expected),
        logits_size=None if raw.logits is None else tuple(raw.logits.shape[2:]),
    )
    metadata = to_metadata(info)
    parse_metadata(metadata, path)  # refuses values that no robot would accept
    graph = _Graph(network, output_size, classes.sky, farthest)
    errors: dict[str, float] = {}

    def write(part: Path) -> None:
        proto = _to_onnx(graph, input_size, expected, part)
        if precision == "fp16":
            _store_in_half(proto.graph)
        onnx.helper.set_model_props(proto, metadata)
        onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, str(part))
        errors.update(measure_errors(Perceiver(part).perceive(image).maps(), expected))
        if wrong := violations(errors, TOLERANCES[precision]):
            raise ExportError(
                f"{path} was not written: on the reference image, ONNX Runtime differs from torch "
                f"by {', '.join(wrong)}. Is the network trained, and the image typical?"
            )

    write_atomically(path, write)
    measured = ", ".join(f"{key} {value:.3g}" for key, value in errors.items())
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {precision}; against torch: {measured}")
    return read_info(path)


def to_perception(
    prediction: Prediction, sky: int | None, farthest: float = math.inf, factor: float = 1.0
) -> Perception:
    """Convert the first image of a Prediction (canonical metres) to the maps for a robot.

    Depth is +Inf for certain sky and beyond `farthest` canonical metres, and NaN where the ReLU of
    the mean is off. The maps of a task that the network does not have are None.

    Args:
        sky: Train id of the sky; None if there is no such class.
        factor: Metres per canonical metre.
    """
    labels = uncertainty = depth = std = None
    if prediction.probabilities is not None:
        first = prediction.probabilities[:1].float().cpu()  # (1, C, H, W)
        labels, uncertainty = first[0].argmax(0).to(torch.uint8), normalized_entropy(first)[0, 0]
    if prediction.depth_mean is not None and prediction.depth_variance is not None:
        mean = prediction.depth_mean[0, 0].float().cpu()
        far = mean > farthest
        if labels is not None and uncertainty is not None and sky is not None:
            far |= (labels == sky) & (uncertainty <= DOUBTFUL)
        mark = torch.where(mean > 0, 0.0, torch.nan).where(~far, torch.inf)
        depth = mean * factor + mark
        std = prediction.depth_variance[0, 0].float().cpu().sqrt() * factor + mark
    maps = (labels, uncertainty, depth, std)
    return Perception(*(None if x is None else x.numpy() for x in maps))


def head_commit() -> str:
    """Commit of the code, with "-dirty" for local changes; "unknown" outside a git checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, encoding="utf-8", check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


class ClassMaps(nn.Module):
    """Class scores (1, C, h, w) → train ids and entropy / ln C, both float (H', W').

    It takes the fewest passes over (C, H', W'). Entropy needs no probabilities: with s = z − max z
    it is log Σe^s − Σs·e^s / Σe^s, one exponential and one product over all logits. On CPUs, ONNX
    Runtime's element-wise operations and matrix products run at memory speed, but its softmax and
    its sums over any axis but the last do not. So the maximum is taken plane by plane, and sums
    are products with a row of ones: 58 ms instead of 278 ms for 19 classes at 512×1024 on one
    thread, with upsampling.

    Args:
        num_classes: C, at least 2.
        size: (H', W').
    """

    def __init__(self, num_classes: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.output_size = size
        self.uncertainty_scale = 1 / math.log(num_classes)
        self.ones = nn.Buffer(torch.ones(1, num_classes))
        self.digits = nn.Buffer(4.0 ** torch.arange(num_classes).flip(0)[None])
        # log4 of a number is up to log4(4/3) = 0.21 above that of its leading digit; adding half
        # of that range on both sides makes rounding exact.
        self.leading = nn.Buffer(torch.tensor(num_classes - 0.9))
        self.one = nn.Buffer(torch.tensor(1.0))

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        logits = upsampled(logits, self.output_size)
        # Not flatten and [0], for which ONNX Runtime copies the tensor.
        return self.label(logits.reshape(logits.shape[1], -1))  # (C, H'·W')

    def label(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both maps from logits (C, H'·W')."""
        largest = functools.reduce(torch.maximum, logits.split(1))  # (1, H'·W')
        shifted = logits - largest
        exp = shifted.exp()
        total = self.ones @ exp
        entropy = total.log() - self.ones @ (shifted * exp) / total
        uncertainty = torch.minimum(entropy * self.uncertainty_scale, self.one)
        labels = self._first_largest(exp)
        return labels.view(self.output_size), uncertainty.view(self.output_size)

    def _first_largest(self, exp: Tensor) -> Tensor:
        """Index of the first class with e^s = 1, as a float, from e^s (C, H'·W') ≤ 1.

        The ones are read as digits of a number of base 4, the first class first. The number is
        below 4/3 of the value of its leading digit, so its logarithm gives that digit. ONNX
        Runtime's own arg max takes ten times as long.
        """
        if len(exp) > _MAX_DIGITS:
            return exp.floor().argmax(0)
        number = self.digits @ exp.floor()  # (1, H'·W')
        return (self.leading - number.log() * (1 / math.log(4))).round()


class DepthMarks(nn.Module):
    """Depth (H', W') → what is added to it and its deviation: 0, +Inf (far, sky) or NaN (none).

    Args:
        sky: Train id of the sky; None if there is no such class.
        farthest: Depth beyond it is +Inf.
    """

    def __init__(self, sky: int | None, farthest: float) -> None:
        super().__init__()
        self.sky = sky
        values = (farthest, 0.0, math.inf, math.nan)
        self.farthest, self.zero, self.inf, self.nan = (nn.Buffer(torch.tensor(x)) for x in values)
        self.doubtful = nn.Buffer(torch.tensor(DOUBTFUL))

    def forward(
        self, depth: Tensor, labels: Tensor | None, uncertainty: Tensor | None = None
    ) -> Tensor:
        far = depth > self.farthest
        if self.sky is not None and labels is not None:
            sky = labels == self.sky  # an estimate is better than none where it is doubtful
            far = far | (sky if uncertainty is None else sky & (uncertainty <= self.doubtful))
        # x + 0 is x.
        return torch.where(far, self.inf, torch.where(depth > self.zero, self.zero, self.nan))


def upsampled(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class _Graph(nn.Module):
    """uint8 (1, H, W, 3) → the maps (H', W') that the network has, in the order of `OUTPUTS`.

    The logits (1, C, h, w), if there are any, come last: the network computes them anyway, so
    they need no operation.
    """

    def __init__(
        self, network: Network, size: tuple[int, int], sky: int | None, farthest: float
    ) -> None:
        super().__init__()
        self.network, self.output_size = network.fold_for_inference(), size
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        # One affine operation on pixels. It is not folded into the first convolution, whose zero
        # padding must come after it.
        self.scale, self.shift = nn.Buffer(1 / (255 * std)), nn.Buffer(-mean / std)
        self.classes = ClassMaps(network.num_classes, size) if network.num_classes else None
        self.marks = DepthMarks(sky, farthest)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        raw = self.network(image.permute(0, 3, 1, 2).float() * self.scale + self.shift)
        labels, uncertainty, maps = None, None, []
        if self.classes is not None:
            labels, uncertainty = self.classes(raw.logits)
            maps = [labels.to(torch.uint8), uncertainty]
        if raw.depth is not None:
            depth = upsampled(raw.depth, self.output_size)
            mean = depth[0, 0].relu()
            std = F.softplus(depth[0, 1]).sqrt() * math.sqrt(VARIANCE_UNIT)
            mark = self.marks(mean, labels, uncertainty)
            maps += [mean + mark, std + mark]
        return (*maps, *([] if raw.logits is None else [raw.logits]))


def trace(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    opset: int,
    scratch: Path,
) -> onnx.ModelProto:
    """Export a module for arguments of fixed shape.

    Args:
        module: The module.
        arguments: Its arguments.
        inputs: Names of its inputs in the graph.
        outputs: Names of its outputs in the graph.
        opset: Version of the operators.
        scratch: File that is written.
    """
    with warnings.catch_warnings():
        # Shapes are fixed, so values that tracing freezes are right. The older exporter needs no
        # onnxscript, writes the IR of its opset, and ONNX Runtime fuses its GELU (the newer one's
        # graph is 5 % slower).
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module.eval(),
            arguments,
            str(scratch),
            dynamo=False,
            opset_version=opset,
            input_names=list(inputs),
            output_names=list(outputs),
        )
    return onnx.load(str(scratch))


def _to_onnx(
    graph: _Graph, input_size: tuple[int, int], outputs: Iterable[str], scratch: Path
) -> onnx.ModelProto:
    image = torch.zeros((1, *input_size, 3), dtype=torch.uint8)
    names = [*outputs, *([LOGITS] if graph.classes else [])]
    proto = trace(graph, (image,), [INPUT], names, OPSET, scratch)
    proto.ir_version = IR_VERSION
    proto.producer_name = "emu_core.training.export"
    proto.graph.name = type(graph.network).__name__
    return proto


def _store_in_half(graph: onnx.GraphProto) -> None:
    """Store large weights as float16, each with a Cast that ONNX Runtime folds on loading."""
    casts = []
    for tensor in graph.initializer:
        weights = onnx.numpy_helper.to_array(tensor)
        if weights.dtype != np.float32 or weights.size < _MIN_HALF_SIZE:
            continue
        stored = f"{tensor.name}.half"
        cast = onnx.helper.make_node(
            "Cast", [stored], [tensor.name], name=f"{stored}.cast", to=onnx.TensorProto.FLOAT
        )
        casts.append(cast)
        tensor.CopyFrom(onnx.numpy_helper.from_array(weights.astype(np.float16), stored))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
