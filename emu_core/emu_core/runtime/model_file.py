"""The model file: the only module that knows the names and metadata inside the ONNX file.

The file holds one graph of fixed shape. Its input is `image`, uint8 (1, H, W, 3), RGB. Its outputs
are (H', W') without a batch axis, at the size chosen at export:

| output | type | meaning |
|---|---|---|
| `labels` | uint8 | train id |
| `label_uncertainty` | float32 | entropy / ln C, 0 to 1 |
| `depth` | float32 | metres along Z; +Inf for sky and beyond range, NaN: no estimate |
| `depth_std` | float32 | metres; +Inf and NaN where depth is |

Depth refers to the canonical focal length (`ModelInfo.canonical_focal`). The file's
`metadata_props` hold everything else that a robot needs, one JSON text per key (`emu.*`). They are
read through ONNX Runtime, so a robot needs no `onnx` package.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emu_core.files import file_digest, lfs_problem
from emu_core.labels import IGNORE, ClassTable
from emu_core.runtime.parity import ERROR_NAMES, Reference

if TYPE_CHECKING:
    import onnxruntime

FORMAT_VERSION = 1
INPUT = "image"
OUTPUTS: dict[str, type[np.generic]] = {
    "labels": np.uint8,
    "label_uncertainty": np.float32,
    "depth": np.float32,
    "depth_std": np.float32,
}
OPSET = 18
IR_VERSION = 8
"""IR version of opset 18. ONNX Runtime 1.17 and 1.23 (the last for Python 3.10) read both."""

PRECISIONS = ("fp32", "fp16")
SHIPPED = "emu_b0_drives.onnx"

_COPY_AGAIN = "Copy the file again, or export it again with training/export.py."
_ONNX_TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


class ModelError(ValueError):
    """A model file is unusable. The message names the file, the problem and a remedy."""


@dataclass(frozen=True)
class ModelInfo:
    """Metadata of a model file. Sizes are (height, width) and, like path and digest, not stored.

    Attributes:
        depth_range: Nearest and farthest depth at the canonical focal length, metres; beyond the
            farthest, depth is +Inf.
        canonical_focal: Focal length that depth refers to, in pixels at the network's input size.
        horizontal_fov: Smallest and largest field of view of the training images, degrees.
        precision: Precision of the graph, one of `PRECISIONS`.
        tolerances: Limits on the errors of `runtime.parity`, by precision.
        reference: Reference image with sampled outputs.
    """

    name: str
    classes: ClassTable
    depth_range: tuple[float, float]
    canonical_focal: float
    horizontal_fov: tuple[float, float]
    training_data: str
    commit: str
    metrics: Mapping[str, float]
    precision: str
    tolerances: Mapping[str, Mapping[str, float]]
    reference: Reference = field(repr=False)
    format_version: int = FORMAT_VERSION
    input_size: tuple[int, int] = (0, 0)
    output_size: tuple[int, int] = (0, 0)
    path: Path = Path()
    sha256: str = ""


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
    sizes = _check_signature(session, path)
    info = ModelInfo(**facts, **sizes, path=path, sha256=file_digest(path))
    (height, width), reference = info.output_size, info.reference
    if np.any(reference.rows >= height) or np.any(reference.cols >= width):
        raise _corrupt(path, "reference", "a sampled pixel lies outside the outputs")
    return info


def _check_signature(session: onnxruntime.InferenceSession, path: Path) -> dict[str, Any]:
    """Check names, types and shapes; returns `input_size` and `output_size`."""
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    if set(inputs) != {INPUT} or set(outputs) != set(OUTPUTS):
        raise ModelError(
            f"{path}: expected the input '{INPUT}' and the outputs {', '.join(OUTPUTS)}, but got "
            f"{', '.join(inputs) or 'none'} and {', '.join(outputs) or 'none'}. {_COPY_AGAIN}"
        )
    image, size = inputs[INPUT], outputs["labels"].shape
    if not _is_fixed(image, 4, np.uint8) or image.shape[0] != 1 or image.shape[3] != 3:
        raise ModelError(
            f"{path}: expected the input '{INPUT}' to be uint8 (1, H, W, 3) of fixed size, but "
            f"got {image.type} {image.shape}. {_COPY_AGAIN}"
        )
    for name, dtype in OUTPUTS.items():
        node = outputs[name]
        if not _is_fixed(node, 2, dtype) or node.shape != size:
            raise ModelError(
                f"{path}: expected the output '{name}' to be {np.dtype(dtype).name} (H, W) of the "
                f"size of 'labels' {size}, but got {node.type} {node.shape}. {_COPY_AGAIN}"
            )
    return {"input_size": tuple(image.shape[1:3]), "output_size": tuple(size)}


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
        },
        "metrics": {key: float(value) for key, value in info.metrics.items()},
        "tolerances": {key: dict(limits) for key, limits in info.tolerances.items()},
        "reference": {
            "png": base64.b64encode(reference.png).decode(),
            "rows": _pack(reference.rows, np.uint16),
            "cols": _pack(reference.cols, np.uint16),
            **{name: _pack(reference.values[name], dtype) for name, dtype in OUTPUTS.items()},
        },
    }
    return {_key(name): json.dumps(value, allow_nan=False) for name, value in values.items()}


def parse_metadata(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Read and check the fields of `ModelInfo` that the metadata holds, see `read_info`."""

    def parse(name: str, parser: Callable[[Any], Any]) -> Any:
        try:
            return parser(json.loads(metadata[_key(name)], parse_constant=_refuse_constant))
        except KeyError as error:
            raise _corrupt(path, name, f"{error.args[0]!r} is missing") from None
        except (TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
            raise _corrupt(path, name, one_line(error)) from None

    version = parse("format_version", _integer)
    if version != FORMAT_VERSION:
        remedy = "Update emu_core" if version > FORMAT_VERSION else "Export the model again"
        raise ModelError(
            f"{path} has format version {version}, but this emu_core reads {FORMAT_VERSION}. "
            f"{remedy}."
        )
    facts = {name: parse(name, parser) for name, parser in _PARSERS.items()}
    facts |= {"format_version": version, **facts.pop("training")}
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


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _checked(value: Any, valid: bool, what: str) -> Any:
    if not valid:
        raise ValueError(f"expected {what}, but got {value!r}")
    return value


def _integer(value: Any) -> int:
    return _checked(value, type(value) is int, "an integer")


def _byte(value: Any) -> int:
    return _checked(value, 0 <= _integer(value) <= 255, "a number from 0 to 255")


def _number(value: Any) -> float:
    valid = type(value) in (int, float) and math.isfinite(value)
    return float(_checked(value, valid, "a number"))


def _numbers(value: dict[str, Any]) -> dict[str, float]:
    return {_text(name): _number(number) for name, number in value.items()}


def _text(value: Any) -> str:
    return _checked(value, isinstance(value, str), "a text")


def _precision(value: Any) -> str:
    return _checked(value, value in PRECISIONS, f"one of {', '.join(PRECISIONS)}")


def _range(value: Any) -> tuple[float, float]:
    low, high = (_number(v) for v in value)
    return _checked((low, high), 0 <= low <= high > 0, "0 ≤ low ≤ high")


def _training(value: dict[str, Any]) -> dict[str, Any]:
    focal = _number(value["canonical_focal"])
    return {
        "canonical_focal": _checked(focal, focal > 0, "a positive canonical_focal"),
        "horizontal_fov": _range(value["horizontal_fov"]),
        "training_data": _text(value["data"]),
        "commit": _text(value["commit"]),
    }


def _tolerances(value: dict[str, Any]) -> dict[str, dict[str, float]]:
    tolerances = {_precision(precision): _numbers(limits) for precision, limits in value.items()}
    for limits in tolerances.values():
        _checked(tuple(limits), set(limits) == set(ERROR_NAMES), f"limits on {ERROR_NAMES}")
    return tolerances


def _classes(value: dict[str, Any]) -> ClassTable:
    names = tuple(_text(name) for name in value["names"])
    ids = tuple(_byte(number) for number in value["dataset_ids"])
    palette = tuple(tuple(_byte(c) for c in color) for color in value["palette"])
    sky = None if value["sky"] is None else _integer(value["sky"])
    # A train id equal to IGNORE would mean unlabelled.
    if not 0 < len(names) <= IGNORE or len(ids) != len(names) or len(palette) != len(names):
        raise ValueError("names, dataset_ids and palette do not match")
    if any(len(color) != 3 for color in palette):
        raise ValueError("a palette entry is not an RGB triple")
    if sky is not None and not 0 <= sky < len(names):
        raise ValueError(f"the sky class {sky} is not among the {len(names)} classes")
    # Files of older versions have no aliases.
    aliases = tuple((_text(alias), _integer(i)) for alias, i in value.get("aliases", ()))
    if any(not 0 <= i < len(names) for _, i in aliases):
        raise ValueError(f"an alias is of none of the {len(names)} classes")
    return ClassTable(_text(value["dataset"]), names, ids, palette, sky, aliases)  # type: ignore[arg-type]


def _reference(value: dict[str, Any]) -> Reference:
    reference = Reference(
        png=base64.b64decode(_text(value["png"]), validate=True),
        rows=_unpack(value["rows"], np.uint16),
        cols=_unpack(value["cols"], np.uint16),
        values={name: _unpack(value[name], dtype) for name, dtype in OUTPUTS.items()},
    )
    columns = (reference.cols, *reference.values.values())
    if len(reference.rows) == 0 or any(len(c) != len(reference.rows) for c in columns):
        raise ValueError("its columns are empty or of unequal length")
    if not reference.png.startswith(b"\x89PNG"):
        raise ValueError("its image is not a PNG")
    return reference


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "name": _text,
    "precision": _precision,
    "classes": _classes,
    "depth_range": _range,
    "training": _training,
    "metrics": _numbers,
    "tolerances": _tolerances,
    "reference": _reference,
}


def _pack(values: np.ndarray, dtype: type[np.generic]) -> str:
    """Base64 of the little-endian bytes: exact, and it keeps Inf and NaN, which JSON lacks."""
    return base64.b64encode(values.astype(np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def _unpack(text: Any, dtype: type[np.generic]) -> np.ndarray:
    raw = base64.b64decode(_text(text), validate=True)
    return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).astype(dtype)
