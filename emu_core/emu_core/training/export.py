"""From a trained SegDepthFormer to the one file that a robot runs (`emu_core.runtime.model_file`).

    export(model, "emu.onnx", reference_image=rgb, classes=CITYSCAPES, depth_range=(0.5, 80.0),
           canonical_focal=443.0, horizontal_fov=(50.0, 90.0), training_data="…", metrics={…})

The graph takes uint8 pixels and gives the four maps of a Perception. Raw outputs are upsampled
first and activated then (`emu_core.methods.prediction`). `expected_maps` says plainly what the
maps are; `_Graph` computes the same in fewer passes over memory. A file that disagrees with torch
is not left behind.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emu_core.labels import CITYSCAPES, ClassTable
from emu_core.methods.prediction import to_prediction
from emu_core.methods.uncertainty import normalized_entropy
from emu_core.networks.models import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    VARIANCE_UNIT,
    SegDepthFormer,
    normalize,
)
from emu_core.runtime.fitting import check_image, fit_image, fit_pixels
from emu_core.runtime.model_file import (
    INPUT,
    IR_VERSION,
    OPSET,
    OUTPUTS,
    PRECISIONS,
    ModelInfo,
    parse_metadata,
    read_info,
    to_metadata,
)
from emu_core.runtime.parity import (
    FP16_TOLERANCES,
    FP32_TOLERANCES,
    Reference,
    measure_errors,
    violations,
)
from emu_core.runtime.perceiver import Perceiver

TOLERANCES: dict[str, dict[str, float]] = {"fp32": FP32_TOLERANCES, "fp16": FP16_TOLERANCES}

_DIGITS = 64
"""More digits of base 4 than that overflow single precision."""

_SMALL = 1024
"""Weights of fewer numbers stay in single precision: they save nothing."""


class ExportError(RuntimeError):
    """A network that cannot be exported faithfully. The message gives the measured errors."""


def export(
    model: SegDepthFormer,
    path: str | Path,
    *,
    reference_image: np.ndarray,
    depth_range: tuple[float, float],
    canonical_focal: float,
    horizontal_fov: tuple[float, float],
    training_data: str,
    metrics: Mapping[str, float],
    classes: ClassTable = CITYSCAPES,
    input_size: tuple[int, int] = (256, 512),
    output_size: tuple[int, int] | None = None,
    precision: str = "fp32",
    name: str | None = None,
    commit: str | None = None,
) -> ModelInfo:
    """Write `model` to `path` and return what the file says of itself.

    Args:
        model: a trained network; it is copied, not changed.
        path: file to write; replaced only when the new one has passed.
        reference_image: RGB, uint8 (h, w, 3), a typical image; what the network answers to it
            travels with the file. Resized to `input_size`.
        depth_range: nearest and farthest depth of training, canonical metres. A mean beyond the
            farthest comes out as +Inf, as sky does.
        canonical_focal: focal length, in pixels at `input_size`, that depth was learned for.
        horizontal_fov: smallest and largest horizontal field of view in training, degrees.
        training_data: what it was trained on, for people.
        metrics: measured on held-out data.
        input_size, output_size: (height, width); the maps have the input's size unless said.
        precision: "fp32", or "fp16" for weights stored in half precision: half the file, the
            arithmetic stays single.
        name: the file's stem unless said.
        commit: of the code that trained it; this repository's HEAD unless said.

    Raises:
        ValueError: for arguments that do not fit together.
        ExportError: if ONNX Runtime's maps leave torch's by more than the tolerances.
    """
    path, output_size = Path(path), output_size or input_size
    if precision not in PRECISIONS:
        raise ValueError(
            f"Expected argument `precision` to be one of {PRECISIONS}, but got {precision!r}"
        )
    if model.num_classes != len(classes):
        raise ValueError(
            f"Expected argument `classes` to have the network's {model.num_classes} classes, but "
            f"got {len(classes)} ({classes.dataset})"
        )
    check_image(reference_image)
    network = copy.deepcopy(model).float().cpu().eval()
    height, width = reference_image.shape[:2]
    fitting = fit_image((height, width), input_size, output_size)
    image = fit_pixels(reference_image, fitting, input_size)
    expected = expected_maps(network, image, output_size, classes.sky, depth_range[1])
    png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
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
        reference=Reference.sample(png, expected),
    )
    metadata = to_metadata(info)
    parse_metadata(metadata, path)  # what no robot would accept is refused before the work
    graph = _Graph(network, output_size, classes.sky, depth_range[1])
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        proto = _to_onnx(graph, input_size, unfinished)
        if precision == "fp16":
            _store_in_half(proto.graph)
        onnx.helper.set_model_props(proto, metadata)
        onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, str(unfinished))
        errors = _measure(unfinished, image, expected)
        if wrong := violations(errors, TOLERANCES[precision]):
            raise ExportError(
                f"{path} was not written: ONNX Runtime leaves torch's answers on the reference "
                f"image by {', '.join(wrong)}. Is the network trained, and the image typical?"
            )
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    measured = ", ".join(f"{key} {value:.3g}" for key, value in errors.items())
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {precision}; against torch: {measured}")
    return read_info(path)


def expected_maps(
    network: SegDepthFormer,
    image: np.ndarray,
    output_size: tuple[int, int],
    sky: int | None,
    farthest: float,
) -> dict[str, np.ndarray]:
    """The four maps (H', W') as torch computes them, written for clarity and unfolded.

    `image` is uint8 (H, W, 3) of the network's size. This is the meaning of the file's outputs.
    """
    with torch.inference_mode():
        raw = network(normalize(torch.from_numpy(image).permute(2, 0, 1)[None]))
        prediction = to_prediction(raw, output_size)
        probabilities, depth = prediction.probabilities, prediction.depth_mean
        assert probabilities is not None and depth is not None
        assert prediction.depth_variance is not None
        labels = probabilities.argmax(1, keepdim=True)  # (1, 1, H', W'), like all others
        far = depth > farthest
        if sky is not None:
            far |= labels == sky
        maps = {
            "labels": labels.to(torch.uint8),
            "label_uncertainty": normalized_entropy(probabilities),
        }
        for key, values in (("depth", depth), ("depth_std", prediction.depth_variance.sqrt())):
            # A ReLU that is off says nothing about depth.
            known = values.where(depth > 0, torch.nan)
            maps[key] = known.where(~far, torch.inf)
    return {key: values[0, 0].numpy() for key, values in maps.items()}


def head_commit() -> str:
    """The commit of the code, "unknown" outside a git checkout; "-dirty" with local changes."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


class _Graph(nn.Module):
    """uint8 (1, H, W, 3) → the four maps (H', W'), in the fewest passes over (C, H', W').

    Entropy needs no probabilities: with s = z − max z it is log Σe^s − Σs·e^s / Σe^s, one
    exponential and one product over all logits. ONNX Runtime's CPU kernels for element-wise
    operations and matrix products run at memory speed; its softmax and its sums over any axis but
    the last do not. Hence the maximum is taken plane by plane, and sums are products with a row of
    ones. Upsampling, labels and entropy of 19 classes at 512×1024 cost one thread 58 ms, 14 of
    them for upsampling; with softmax, logarithm and sum over channels 278 ms.
    """

    scale: Tensor
    shift: Tensor
    ones: Tensor
    digits: Tensor
    leading: Tensor
    farthest: Tensor
    zero: Tensor
    one: Tensor
    inf: Tensor
    nan: Tensor

    def __init__(
        self,
        network: SegDepthFormer,
        output_size: tuple[int, int],
        sky: int | None,
        farthest: float,
    ) -> None:
        super().__init__()
        assert network.num_classes is not None
        self.network, self.output_size, self.sky = network.fold_for_inference(), output_size, sky
        self.uncertainty_scale = 1 / math.log(network.num_classes)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        # One affine operation on pixels; zero padding must come after it, so no folding further.
        for name, value in {
            "scale": 1 / (255 * std),
            "shift": -mean / std,
            "ones": torch.ones(1, network.num_classes),
            "digits": 4.0 ** torch.arange(network.num_classes).flip(0)[None],
            # Numbers reach log4(4/3) = 0.21 over their leading digit's: half of it to either side.
            "leading": torch.tensor(network.num_classes - 0.9),
            "farthest": torch.tensor(farthest),
            "zero": torch.tensor(0.0),
            "one": torch.tensor(1.0),
            "inf": torch.tensor(torch.inf),
            "nan": torch.tensor(torch.nan),
        }.items():
            self.register_buffer(name, value)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        raw = self.network(image.permute(0, 3, 1, 2).float() * self.scale + self.shift)
        logits, depth = (
            F.interpolate(x, size=self.output_size, mode="bilinear", align_corners=False)
            for x in raw
        )
        # Not flatten and [0]: ONNX would copy all of it to drop an axis.
        labels, uncertainty = self._label(logits.reshape(logits.shape[1], -1))  # (C, H'·W')
        mean = depth[0, 0].relu()
        std = F.softplus(depth[0, 1]).sqrt() * math.sqrt(VARIANCE_UNIT)
        far = mean > self.farthest
        if self.sky is not None:
            far = far | (labels == self.sky)
        # 0, +Inf or NaN, added to both: x + 0 is x.
        mark = torch.where(far, self.inf, torch.where(mean > self.zero, self.zero, self.nan))
        return labels.to(torch.uint8), uncertainty, mean + mark, std + mark

    def _label(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        largest = functools.reduce(torch.maximum, logits.split(1))  # (1, H'·W')
        shifted = logits - largest
        exp = shifted.exp()
        total = self.ones @ exp
        entropy = total.log() - self.ones @ (shifted * exp) / total
        uncertainty = torch.minimum(entropy * self.uncertainty_scale, self.one)
        labels = self._first_largest(exp)
        return labels.view(self.output_size), uncertainty.view(self.output_size)

    def _first_largest(self, exp: Tensor) -> Tensor:
        """The first class of e^s = 1, as a float, from e^s (C, H'·W') ≤ 1.

        Read as digits of base 4, the first class first, the ones make a number below 4/3 of its
        leading digit's value: its logarithm tells that digit. ONNX Runtime's own arg max takes
        ten times as long.
        """
        if len(exp) > _DIGITS:
            return exp.floor().argmax(0)
        number = self.digits @ exp.floor()  # (1, H'·W')
        return (self.leading - number.log() * (1 / math.log(4))).round()


def _to_onnx(graph: _Graph, input_size: tuple[int, int], scratch: Path) -> onnx.ModelProto:
    with warnings.catch_warnings():
        # Shapes are fixed, so what tracing freezes is right. The exporter is the older one on
        # purpose: it needs no onnxscript, writes the IR of its opset, and ONNX Runtime fuses its
        # GELU (the newer one's graph is 5 % slower).
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            graph.eval(),
            (torch.zeros((1, *input_size, 3), dtype=torch.uint8),),
            str(scratch),
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
        )
    proto = onnx.load(str(scratch))
    proto.ir_version = IR_VERSION
    proto.producer_name = "emu_core.training.export"
    proto.graph.name = type(graph.network).__name__
    return proto


def _store_in_half(graph: onnx.GraphProto) -> None:
    """Store large weights as float16, with a Cast that ONNX Runtime folds when it loads."""
    casts = []
    for tensor in graph.initializer:
        weights = onnx.numpy_helper.to_array(tensor)
        if weights.dtype != np.float32 or weights.size < _SMALL:
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


def _measure(
    path: Path, image: np.ndarray, expected: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Errors of the file's maps, all pixels, as a robot would get them."""
    return measure_errors(vars(Perceiver(path).perceive(image)), expected)
