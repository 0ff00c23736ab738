"""The model file: the only module that knows the names and metadata inside the ONNX file.

The file holds one graph of fixed shape. Its input is `image`, uint8 (1, H, W, 3), RGB. Its outputs
are (H', W') without a batch axis, at the size chosen at export:

| output | type | meaning |
|---|---|---|
| `labels` | uint8 | train id |
| `label_uncertainty` | float32 | entropy / ln C, 0 to 1 |
| `depth` | float32 | metres along Z; +Inf: certainly sky or beyond range, NaN: no estimate |
| `depth_std` | float32 | metres; +Inf and NaN where depth is |

The optional output `logits`, float32 (1, C, h, w), is the segmentation before it is enlarged to
the outputs' size; a run that does not ask for it costs nothing more.

A network for one task has only that task's outputs, and one without a deviation of depth has no
`depth_std` (`metadata.OUTPUT_SETS`). Depth refers to the canonical focal length
(`ModelInfo.canonical_focal`); without one, it is in metres for every lens. The file's
`metadata_props` hold everything else that a robot needs, one JSON text per key (`emu.*`). They are
read through ONNX Runtime, so a robot needs no `onnx` package.

Files with the four outputs and all facts have format version 1, others 2, which older readers
refuse.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emu_core.files import file_digest, lfs_problem
from emu_core.labels import ClassTable
from emu_core.runtime.calibration import Calibration
from emu_core.runtime.metadata import (
    OUTPUTS,
    PARSERS,
    calibration,
    integer,
    pack,
    refuse_constant,
)
from emu_core.runtime.parity import Reference

if TYPE_CHECKING:
    import onnxruntime

FORMAT_VERSIONS = (1, 2)
INPUT = "image"
LOGITS = "logits"
OPSET = 18
IR_VERSION = 8
"""IR version of opset 18. ONNX Runtime 1.17 and 1.23 (the last for Python 3.10) read both."""

SHIPPED = "emu_b0_drives.onnx"

_COPY_AGAIN = "Copy the file again, or export it again with training/export.py."
_ONNX_TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


class ModelError(ValueError):
    """A model file is unusable. The message names the file, the problem and a remedy."""


@dataclass(frozen=True)
class ModelInfo:
    """Metadata of a model file. Sizes are (height, width) and, like path and digest, not stored.

    Attributes:
        classes: Classes of the labels; `NO_CLASSES` without segmentation.
        depth_range: Nearest and farthest depth at the canonical focal length, metres; beyond the
            farthest, depth is +Inf. None without depth.
        canonical_focal: Focal length that depth refers to, in pixels at the network's input size.
            None without depth, and if depth is in metres for every lens.
        horizontal_fov: Smallest and largest field of view of the training images, degrees; None
            if unknown.
        precision: Precision of the graph, one of `PRECISIONS`.
        tolerances: Limits on the errors of `runtime.parity`, by precision.
        reference: Reference image with sampled outputs.
        license: Licence of the weights, as text; empty if unknown.
        calibration: What was fitted on held-out frames and is part of the graph; None if nothing.
        logits_size: Size (h, w) of the output `logits`; None without it. Not stored.
    """

    name: str
    classes: ClassTable
    depth_range: tuple[float, float] | None
    canonical_focal: float | None
    horizontal_fov: tuple[float, float] | None
    training_data: str
    commit: str
    metrics: Mapping[str, float]
    precision: str
    tolerances: Mapping[str, Mapping[str, float]]
    reference: Reference = field(repr=False)
    license: str = ""
    calibration: Calibration | None = None
    logits_size: tuple[int, int] | None = None
    input_size: tuple[int, int] = (0, 0)
    output_size: tuple[int, int] = (0, 0)
    path: Path = Path()
    sha256: str = ""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs that the model has, in the order of `OUTPUTS`."""
        return tuple(self.reference.values)

    @property
    def format_version(self) -> int:
        """The lowest version that can hold this model."""
        facts = (self.depth_range, self.canonical_focal, self.horizontal_fov)
        complete = len(self.outputs) == len(OUTPUTS) and None not in facts
        return 1 if complete and self.logits_size is None else 2


def default_model() -> Path:
    """Path of the model file that is installed with emu_core; ModelError if it is missing."""
    path = Path(__file__).parents[1] / "models" / SHIPPED
    if not path.is_file():
        raise ModelError(
            f"the model that comes with emu_core is missing: {path}. Restore the file in the "
            "repository (git checkout) and install emu_core again, or give a model file."
        )
    return path


def read_info(path: str | Path) -> ModelInfo:
    """Check a model file and read its metadata; raises ModelError if it is not usable."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # the exception has the same text
    return session_info(open_session(path, options, ["CPUExecutionProvider"]), path)


def open_session(
    path: str | Path, options: onnxruntime.SessionOptions, providers: list[Any]
) -> onnxruntime.InferenceSession:
    """Open a model file in ONNX Runtime.

    Raises:
        ModelError: The file is missing, or the CPU cannot load it. With another provider first,
            ONNX Runtime's own exception is raised: the provider may be the cause.
    """
    import onnxruntime

    path = Path(path)
    if path.is_dir():
        raise ModelError(f"{path} is a folder, not a model file. Give the .onnx file inside.")
    if not path.is_file():
        raise ModelError(f"there is no model file at {path}. Check the path.")
    if problem := lfs_problem(path):
        raise ModelError(f"{problem}.")
    # Without this, a file named *.ort would be read as another format.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        if providers != ["CPUExecutionProvider"]:
            raise
        size = path.stat().st_size
        raise ModelError(
            f"{path} ({size} bytes) does not load: it is truncated, damaged or not an ONNX file. "
            f"{_COPY_AGAIN} Message of ONNX Runtime: {one_line(error)}"
        ) from error


def session_info(session: onnxruntime.InferenceSession, path: str | Path) -> ModelInfo:
    """Check an open session as `read_info` does, and read its metadata."""
    path = Path(path)
    try:
        metadata = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: its metadata is not text: {error}. {_COPY_AGAIN}") from None
    if _key("format_version") not in metadata:
        raise ModelError(
            f"{path} is an ONNX file but not an EMU model: its metadata has no "
            f"'{_key('format_version')}'. Export a model with training/export.py."
        )
    facts = parse_metadata(metadata, path)
    names = tuple(facts["reference"].values)
    sizes = _check_signature(session, path, names, len(facts["classes"]))
    info = ModelInfo(**facts, **sizes, path=path, sha256=file_digest(path))
    (height, width), reference = info.output_size, info.reference
    if np.any(reference.rows >= height) or np.any(reference.cols >= width):
        raise _corrupt(path, "reference", "a sampled pixel lies outside the outputs")
    return info


def _check_signature(
    session: onnxruntime.InferenceSession, path: Path, names: tuple[str, ...], n_classes: int
) -> dict[str, Any]:
    """Check names, types and shapes; returns the sizes of a ModelInfo."""
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    logits = outputs.pop(LOGITS, None)
    if set(inputs) != {INPUT} or set(outputs) != set(names):
        raise ModelError(
            f"{path}: expected the input '{INPUT}' and the outputs {', '.join(names)}, but got "
            f"{', '.join(inputs) or 'none'} and {', '.join(outputs) or 'none'}. {_COPY_AGAIN}"
        )
    image, size = inputs[INPUT], outputs[names[0]].shape
    if not _is_fixed(image, 4, np.uint8) or image.shape[0] != 1 or image.shape[3] != 3:
        raise ModelError(
            f"{path}: expected the input '{INPUT}' to be uint8 (1, H, W, 3) of fixed size, but "
            f"got {image.type} {image.shape}. {_COPY_AGAIN}"
        )
    for name in names:
        node, dtype = outputs[name], OUTPUTS[name]
        if not _is_fixed(node, 2, dtype) or node.shape != size:
            raise ModelError(
                f"{path}: expected the output '{name}' to be {np.dtype(dtype).name} (H, W) of the "
                f"size of '{names[0]}' {size}, but got {node.type} {node.shape}. {_COPY_AGAIN}"
            )
    sizes = {"input_size": tuple(image.shape[1:3]), "output_size": tuple(size)}
    if logits is not None:
        if not _is_fixed(logits, 4, np.float32) or logits.shape[:2] != [1, n_classes]:
            raise ModelError(
                f"{path}: expected the output '{LOGITS}' to be float32 (1, {n_classes}, h, w), "
                f"but got {logits.type} {logits.shape}. {_COPY_AGAIN}"
            )
        sizes["logits_size"] = tuple(logits.shape[2:])
    return sizes


def _is_fixed(node: onnxruntime.NodeArg, axes: int, dtype: type[np.generic]) -> bool:
    """Whether an input or output has this type and a fixed shape with so many axes."""
    fixed = all(isinstance(n, int) and n > 0 for n in node.shape)
    return fixed and len(node.shape) == axes and _ONNX_TYPES.get(node.type) is dtype


def to_metadata(info: ModelInfo) -> dict[str, str]:
    """`metadata_props` of a file: key -> JSON text. `parse_metadata` is the inverse."""
    reference = info.reference
    values: dict[str, Any] = {
        "format_version": info.format_version,
        "name": info.name,
        "precision": info.precision,
        "classes": asdict(info.classes),
        "depth_range": info.depth_range,
        "training": {
            "canonical_focal": info.canonical_focal,
            "horizontal_fov": info.horizontal_fov,
            "data": info.training_data,
            "commit": info.commit,
            **({"license": info.license} if info.license else {}),
        },
        "metrics": {key: float(value) for key, value in info.metrics.items()},
        "tolerances": {key: dict(limits) for key, limits in info.tolerances.items()},
        "reference": {
            "png": base64.b64encode(reference.png).decode(),
            "rows": pack(reference.rows, np.uint16),
            "cols": pack(reference.cols, np.uint16),
            **{name: pack(values, OUTPUTS[name]) for name, values in reference.values.items()},
        },
    }
    if info.calibration is not None:
        values["calibration"] = asdict(info.calibration)
    return {_key(name): json.dumps(value, allow_nan=False) for name, value in values.items()}


def parse_metadata(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Read and check the fields of `ModelInfo` that the metadata holds, see `read_info`."""

    def parse(name: str, parser: Callable[[Any], Any]) -> Any:
        try:
            return parser(json.loads(metadata[_key(name)], parse_constant=refuse_constant))
        except KeyError as error:
            raise _corrupt(path, name, f"{error.args[0]!r} is missing") from None
        except (TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
            raise _corrupt(path, name, one_line(error)) from None

    version = parse("format_version", integer)
    if version not in FORMAT_VERSIONS:
        newest = FORMAT_VERSIONS[-1]
        remedy = "Update emu_core" if version > newest else "Export the model again"
        raise ModelError(
            f"{path} has format version {version}, but this emu_core reads up to {newest}. "
            f"{remedy}."
        )
    facts = {name: parse(name, parser) for name, parser in PARSERS.items()}
    facts |= facts.pop("training")
    if _key("calibration") in metadata:
        facts["calibration"] = parse("calibration", calibration)
    outputs = facts["reference"].values
    if ("labels" in outputs) != (len(facts["classes"]) > 0):
        raise _corrupt(path, "classes", "only the output labels has classes")
    if ("depth" in outputs) != (facts["depth_range"] is not None):
        raise _corrupt(path, "depth_range", "only the output depth has a range")
    if facts["precision"] not in facts["tolerances"]:
        raise _corrupt(path, "tolerances", f"none for the file's precision {facts['precision']}")
    return facts


def one_line(error: Exception) -> str:
    """Text of an exception without line breaks."""
    return " ".join(str(error).split())


def _key(name: str) -> str:
    return f"emu.{name}"


def _corrupt(path: Path, name: str, problem: str) -> ModelError:
    return ModelError(f"{path}: metadata '{_key(name)}' is corrupt: {problem}. {_COPY_AGAIN}")
