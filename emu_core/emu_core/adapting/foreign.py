"""Read another project's ONNX network, check what it takes and gives, and run it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from emu_core.adapting.options import Source
from emu_core.runtime.engines import session_options
from emu_core.runtime.model_file import OPSET, one_line

OLDEST_OPSET = 11
"""Oldest opset with bilinear Resize as torch computes it."""

_LARGEST = 2_000_000_000  # bytes of a protobuf file
_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}


class AdaptError(ValueError):
    """A network cannot become a model file; the message names the file and says what to do."""


@dataclass(frozen=True)
class Foreign:
    """A checked network.

    Attributes:
        path, model: The file, and its content with a fixed input size.
        input, output: Names of its input and of the output that is used.
        dtype: Type of the input.
        layout: nchw or nhwc.
        size: Height and width of the input.
    """

    path: Path
    model: onnx.ModelProto
    input: str
    output: str
    dtype: type[np.generic]
    layout: str
    size: tuple[int, int]

    @property
    def opset(self) -> int:
        return _opset(self.model)

    @cached_property
    def black(self) -> np.ndarray:
        """Its output for zeros, which shows its type and shape."""
        return self.run(np.zeros((*self.size, 3), self.dtype))

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        content = self.model.SerializeToString()
        return onnxruntime.InferenceSession(
            content, session_options(None), ["CPUExecutionProvider"]
        )

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Run it on normalised pixels (H, W, 3) of its type and size.

        Raises:
            AdaptError: ONNX Runtime does not run it.
        """
        image = pixels[np.newaxis]
        if self.layout == "nchw":
            image = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
        try:
            return np.asarray(self._session.run([self.output], {self.input: image})[0])
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise AdaptError(
                f"{self.path} does not run in ONNX Runtime at {self.size[1]}×{self.size[0]} "
                f"pixels: {one_line(error)}. Give another size, or export it again with opset "
                f"{OPSET}."
            ) from error


def read_foreign(path: Path, source: Source, task: str) -> Foreign:
    """Read a network and check its input.

    Args:
        path: ONNX file.
        source: The network's options.
        task: segmentation or depth: the prefix of the options in messages.

    Raises:
        AdaptError: It cannot be used.
    """
    model = _load(path)
    name, kind, shape = _only_input(model, path)
    dtype = _TYPES.get(kind)
    if dtype is None:
        raise AdaptError(
            f"{path}: its input {name} is a {kind}, but this command feeds float, float16 or "
            "uint8: export it with one of them."
        )
    if dtype is np.uint8 and source.normalizes:
        raise AdaptError(
            f"{path} takes uint8 pixels, so it normalises them itself: leave out "
            f"--{task}.factor, --{task}.mean and --{task}.std."
        )
    layout = _layout(path, name, shape, source, task)
    rows = 2 if layout == "nchw" else 1
    size = _size(path, shape[rows : rows + 2], source, task)
    if shape[0] not in (1, None):
        raise AdaptError(
            f"{path}: its input {name} holds {shape[0]} images at once: export it for one image."
        )
    fixed = [1, 3, *size] if layout == "nchw" else [1, *size, 3]
    graph_input = next(value for value in model.graph.input if value.name == name)
    for dim, length in zip(graph_input.type.tensor_type.shape.dim, fixed, strict=True):
        dim.dim_value = length
    output = _chosen_output(model, path, source, task)
    return Foreign(path, model, name, output, dtype, layout, size)


def _load(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise AdaptError(f"there is no ONNX file at {path}: check the path.")
    try:
        model = onnx.load(str(path), load_external_data=False)
        empty = not model.graph.node
    except Exception as error:  # protobuf's exceptions vary with its version
        raise AdaptError(
            f"{path} is not an ONNX file ({one_line(error) or type(error).__name__}): export the "
            "network to ONNX first, or use --hugging-face for a Hugging Face model."
        ) from error
    if empty:
        raise AdaptError(
            f"{path} is not an ONNX file, or it has no nodes: export the network to ONNX first."
        )
    if any(entry.key.startswith("emu.") for entry in model.metadata_props):
        raise AdaptError(f"{path} is a model file of this project already: use it as it is.")
    external = [tensor for tensor in model.graph.initializer if uses_external_data(tensor)]
    files = {e.value for t in external for e in t.external_data if e.key == "location"}
    if missing := sorted(name for name in files if not (path.parent / name).is_file()):
        raise AdaptError(
            f"{path} has its weights in {', '.join(missing)}, which is not beside it: copy it to "
            f"{path.parent}."
        )
    size = path.stat().st_size + sum((path.parent / name).stat().st_size for name in files)
    if size > _LARGEST:
        raise AdaptError(
            f"{path} has {size / 1e9:.1f} GB with its weights, but one model file can hold "
            "2 GB: export it in half precision."
        )
    try:
        load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise AdaptError(
            f"{path}: its weights in {', '.join(sorted(files))} are damaged: copy them again. "
            f"({one_line(error)})"
        ) from error
    if _opset(model) < OLDEST_OPSET:
        raise AdaptError(
            f"{path} has opset {_opset(model)}, but at least {OLDEST_OPSET} is needed: export it "
            f"again with opset {OPSET}."
        )
    return model


def _opset(model: onnx.ModelProto) -> int:
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def _only_input(model: onnx.ModelProto, path: Path) -> tuple[str, str, list[int | None]]:
    """Return name, type and shape of the only input; None for dynamic lengths."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise AdaptError(
            f"{path} has {len(inputs)} inputs ({names}), but a model file feeds one image: export "
            "a network with one input."
        )
    tensor = inputs[0].type.tensor_type
    kinds = {number: kind.lower() for kind, number in onnx.TensorProto.DataType.items()}
    shape = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    return inputs[0].name, f"tensor({kinds.get(tensor.elem_type, 'unknown')})", shape


def _layout(path: Path, name: str, shape: list[int | None], source: Source, task: str) -> str:
    if len(shape) != 4:
        raise AdaptError(
            f"{path}: its input {name} has the shape {_text(shape)}, but an image has the layout "
            "(1, 3, H, W) or (1, H, W, 3): export it for one image."
        )
    fitting = [layout for layout, axis in (("nchw", 1), ("nhwc", 3)) if shape[axis] == 3]
    possible = [la for la, axis in (("nchw", 1), ("nhwc", 3)) if shape[axis] in (3, None)]
    if source.layout is not None:
        if source.layout not in possible:
            raise AdaptError(
                f"{path}: its input {name} has the shape {_text(shape)}, which is not "
                f"{source.layout} of 3 channels: give another --{task}.layout."
            )
        return source.layout
    if not possible:
        raise AdaptError(
            f"{path}: its input {name} has the shape {_text(shape)}, and no layout of an image "
            "with 3 channels, (1, 3, H, W) or (1, H, W, 3): export a network for RGB images."
        )
    if len(fitting) != 1:
        raise AdaptError(
            f"{path}: the shape of its input {name}, {_text(shape)}, does not show which axis has "
            f"the channels: give --{task}.layout nchw or nhwc."
        )
    return fitting[0]


def _size(path: Path, found: list[int | None], source: Source, task: str) -> tuple[int, int]:
    if source.size is None:
        if None in found:
            raise AdaptError(
                f"{path} takes images of any size, but a model file has a fixed one: give "
                f"--{task}.size '[HEIGHT, WIDTH]'."
            )
        return found[0] or 0, found[1] or 0
    if any(length not in (None, given) for length, given in zip(found, source.size, strict=True)):
        raise AdaptError(
            f"{path} takes images of {found[1]}×{found[0]} pixels only: leave out --{task}.size."
        )
    return source.size


def _chosen_output(model: onnx.ModelProto, path: Path, source: Source, task: str) -> str:
    names = [value.name for value in model.graph.output]
    if source.output is None and len(names) != 1:
        raise AdaptError(
            f"{path} has the outputs {', '.join(names)}: choose one with --{task}.output."
        )
    if source.output is not None and source.output not in names:
        raise AdaptError(
            f"{path} has no output {source.output}, only {', '.join(names)}: give another "
            f"--{task}.output."
        )
    return source.output or names[0]


def _text(shape: list[int | None]) -> str:
    return f"({', '.join('?' if n is None else str(n) for n in shape)})"
