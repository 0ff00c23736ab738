"""The model file: the one place that knows the names and the metadata inside the ONNX file.

One graph of fixed shape, everything inside it. Input `image`, uint8 (1, H, W, 3), RGB. Outputs,
all (H', W') without a batch axis, at the size chosen at export:

| output | type | meaning |
|---|---|---|
| `labels` | uint8 | train id |
| `label_uncertainty` | float32 | entropy / ln C, 0…1 |
| `depth` | float32 | metres along Z, +Inf for sky and beyond range, NaN: no estimate |
| `depth_std` | float32 | metres, +Inf where depth is, NaN where depth is |

Depth holds for the canonical focal length (`ModelInfo.canonical_focal`). What else a robot must
know stands in the file's `metadata_props`, one JSON text per key (`emu.*`), and is read through
ONNX Runtime: a robot needs no `onnx` package.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
"""The IR that goes with opset 18. ONNX Runtime 1.23 (Python 3.10) reads both; so does 1.17."""

PRECISIONS = ("fp32", "fp16")
SHIPPED = "emu_b0_drives.onnx"

_AGAIN = "Copy the file again, or export it again with training/export.py."
_ONNX_TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


class ModelError(ValueError):
    """A model file that cannot be used. The message says which, why, and what to do."""


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself.

    `depth_range` is (nearest, farthest) in canonical metres; beyond the farthest, depth is +Inf.
    `canonical_focal` is the focal length, in pixels at the network's input size, for which depth
    holds; `horizontal_fov` the (smallest, largest) field of view, in degrees, of training images.
    `tolerances` maps a precision to limits on the errors of `runtime.parity`; `precision` is
    the one of this file. The last four fields are facts about the file and stand in no metadata:
    sizes are (height, width), `sha256` is of all its bytes.
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
    """The model file that is installed with emu_core; ModelError where it is missing."""
    path = Path(__file__).parents[1] / "models" / SHIPPED
    if not path.is_file():
        raise ModelError(
            f"the model that comes with emu_core is not there: {path}. Get the repository's "
            "file again (git checkout) and install emu_core again, or name a model file."
        )
    return path


def read_info(path: str | Path) -> ModelInfo:
    """Check a model file and read what it says; ModelError if it is no usable EMU model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # the exception says it all
    return session_info(open_session(path, options, ["CPUExecutionProvider"]), path)


def open_session(
    path: str | Path, options: onnxruntime.SessionOptions, providers: list[Any]
) -> onnxruntime.InferenceSession:
    """Open `path` in ONNX Runtime; ModelError where that fails on the CPU.

    With another provider first, ONNX Runtime's own exception passes: it may be the provider's.
    """
    import onnxruntime

    path = Path(path)
    if path.is_dir():
        raise ModelError(f"{path} is a folder, not a model file. Name the .onnx file inside.")
    if not path.is_file():
        raise ModelError(f"there is no model file at {path}. Check the path.")
    # Else a file named *.ort is taken for another format.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        if providers != ["CPUExecutionProvider"]:
            raise
        size = path.stat().st_size
        raise ModelError(
            f"{path} ({size} bytes) does not load: it is truncated, damaged or no ONNX file. "
            f"{_AGAIN} ONNX Runtime says: {_one_line(error)}"
        ) from error


def session_info(session: onnxruntime.InferenceSession, path: str | Path) -> ModelInfo:
    """Check an open session's inputs, outputs and metadata; ModelError names what is wrong."""
    path = Path(path)
    try:
        metadata = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: its metadata is no text: {error}. {_AGAIN}") from None
    if _key("format_version") not in metadata:
        raise ModelError(
            f"{path} is an ONNX file but no EMU model: its metadata has no "
            f"'{_key('format_version')}'. Export a model with training/export.py."
        )
    facts = parse_metadata(metadata, path)
    input_size, output_size = _check_signature(session, path)
    reference: Reference = facts["reference"]
    if np.any(reference.rows >= output_size[0]) or np.any(reference.cols >= output_size[1]):
        raise _corrupt(path, "reference", "a sampled pixel lies outside the outputs")
    return ModelInfo(
        **facts,
        input_size=input_size,
        output_size=output_size,
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def to_metadata(info: ModelInfo) -> dict[str, str]:
    """The `metadata_props` of a file: key -> JSON text. `session_info` reads it back."""
    table, reference = info.classes, info.reference
    values: dict[str, Any] = {
        "format_version": info.format_version,
        "name": info.name,
        "precision": info.precision,
        "classes": {
            "dataset": table.dataset,
            "names": table.names,
            "dataset_ids": table.dataset_ids,
            "palette": table.palette,
            "sky": table.sky,
        },
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


def _key(name: str) -> str:
    return f"emu.{name}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _corrupt(path: Path, name: str, why: str) -> ModelError:
    return ModelError(f"{path}: metadata '{_key(name)}' is corrupt: {why}. {_AGAIN}")


def _check_signature(
    session: onnxruntime.InferenceSession, path: Path
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) of the input and of the outputs; ModelError unless all is as documented."""
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    if set(inputs) != {INPUT} or set(outputs) != set(OUTPUTS):
        raise ModelError(
            f"{path}: expected the input '{INPUT}' and the outputs {', '.join(OUTPUTS)}, but got "
            f"{', '.join(inputs) or 'none'} and {', '.join(outputs) or 'none'}. {_AGAIN}"
        )
    image = inputs[INPUT]
    shape = image.shape
    fixed = len(shape) == 4 and all(isinstance(n, int) and n > 0 for n in shape)
    if not fixed or shape[0] != 1 or shape[3] != 3 or _ONNX_TYPES.get(image.type) is not np.uint8:
        raise ModelError(
            f"{path}: expected the input '{INPUT}' to be uint8 (1, H, W, 3) of fixed size, but "
            f"got {image.type} {shape}. {_AGAIN}"
        )
    size = outputs["labels"].shape
    for name, dtype in OUTPUTS.items():
        node = outputs[name]
        fixed = len(node.shape) == 2 and all(isinstance(n, int) and n > 0 for n in node.shape)
        if not fixed or node.shape != size or _ONNX_TYPES.get(node.type) is not dtype:
            raise ModelError(
                f"{path}: expected the output '{name}' to be {np.dtype(dtype).name} (H, W) of the "
                f"size of 'labels' {size}, but got {node.type} {node.shape}. {_AGAIN}"
            )
    return (shape[1], shape[2]), (size[0], size[1])


def parse_metadata(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The fields of `ModelInfo` that stand in the metadata; ModelError names what is wrong."""

    def parse(name: str, parser: Callable[[Any], Any]) -> Any:
        try:
            return parser(json.loads(metadata[_key(name)], parse_constant=_no_constant))
        except KeyError as error:
            missing = error.args[0]
            raise _corrupt(path, name, f"{missing!r} is missing") from None
        except (TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
            raise _corrupt(path, name, _one_line(error)) from None

    version = parse("format_version", _integer)
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{path} has format version {version}, and this emu_core reads {FORMAT_VERSION}. "
            f"{'Update emu_core' if version > FORMAT_VERSION else 'Export the model again'}."
        )
    facts = {
        "format_version": version,
        "name": parse("name", _text),
        "precision": parse("precision", _precision),
        "classes": parse("classes", _classes),
        "depth_range": parse("depth_range", _range),
        **parse("training", _training),
        "metrics": parse("metrics", _numbers),
        "tolerances": parse("tolerances", _tolerances),
        "reference": parse("reference", _reference),
    }
    if facts["precision"] not in facts["tolerances"]:
        raise _corrupt(path, "tolerances", f"none for the file's precision {facts['precision']}")
    return facts


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"expected an integer, but got {value!r}")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"expected a number, but got {value!r}")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, but got {value!r}")
    return value


def _precision(value: Any) -> str:
    if value not in PRECISIONS:
        raise ValueError(f"expected one of {', '.join(PRECISIONS)}, but got {value!r}")
    return value


def _range(value: Any) -> tuple[float, float]:
    low, high = (_number(v) for v in value)
    if not 0 <= low <= high or high == 0:
        raise ValueError(f"expected 0 ≤ low ≤ high, but got {value!r}")
    return low, high


def _training(value: dict[str, Any]) -> dict[str, Any]:
    focal = _number(value["canonical_focal"])
    if focal <= 0:
        raise ValueError(f"expected a positive canonical_focal, but got {focal!r}")
    return {
        "canonical_focal": focal,
        "horizontal_fov": _range(value["horizontal_fov"]),
        "training_data": _text(value["data"]),
        "commit": _text(value["commit"]),
    }


def _numbers(value: dict[str, Any]) -> dict[str, float]:
    return {_text(name): _number(number) for name, number in value.items()}


def _tolerances(value: dict[str, Any]) -> dict[str, dict[str, float]]:
    tolerances = {_precision(precision): _numbers(limits) for precision, limits in value.items()}
    for limits in tolerances.values():
        if set(limits) != set(ERROR_NAMES):
            raise ValueError(f"expected limits on {ERROR_NAMES}, but got {tuple(limits)}")
    return tolerances


def _classes(value: dict[str, Any]) -> ClassTable:
    names = tuple(_text(name) for name in value["names"])
    ids = tuple(_byte(number) for number in value["dataset_ids"])
    palette = tuple(tuple(_byte(c) for c in color) for color in value["palette"])
    sky = None if value["sky"] is None else _integer(value["sky"])
    # IGNORE is an id on the wire: so many classes would reach it.
    if not 0 < len(names) <= IGNORE or len(ids) != len(names) or len(palette) != len(names):
        raise ValueError("names, dataset_ids and palette do not fit together")
    if any(len(color) != 3 for color in palette):
        raise ValueError("a palette entry is no RGB triple")
    if sky is not None and not 0 <= sky < len(names):
        raise ValueError(f"the sky class {sky} is none of the {len(names)} classes")
    return ClassTable(_text(value["dataset"]), names, ids, palette, sky)  # type: ignore[arg-type]


def _byte(value: Any) -> int:
    if not 0 <= _integer(value) <= 255:
        raise ValueError(f"expected a number in 0…255, but got {value!r}")
    return value


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
        raise ValueError("its picture is no PNG")
    return reference


def _pack(values: np.ndarray, dtype: type[np.generic]) -> str:
    """Base64 of the little-endian bytes: exact, and it keeps Inf and NaN, which JSON lacks."""
    return base64.b64encode(values.astype(np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def _unpack(text: Any, dtype: type[np.generic]) -> np.ndarray:
    raw = base64.b64decode(_text(text), validate=True)
    return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).astype(dtype)
