"""Values in the metadata of a model file, as JSON and as Python; `model_file` uses them."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from emu_core.labels import IGNORE, ClassTable
from emu_core.runtime.calibration import Calibration, Distance
from emu_core.runtime.parity import ERROR_NAMES, Reference

OUTPUTS: dict[str, type[np.generic]] = {
    "labels": np.uint8,
    "label_uncertainty": np.float32,
    "depth": np.float32,
    "depth_std": np.float32,
}
"""Type of each output that a model file may have."""

OUTPUT_SETS = (
    ("labels", "label_uncertainty"),
    ("depth",),
    ("depth", "depth_std"),
    ("labels", "label_uncertainty", "depth"),
    tuple(OUTPUTS),
)
"""The outputs that a model file may have together, in order."""

PRECISIONS = ("fp32", "fp16")


def refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _checked(value: Any, valid: bool, what: str) -> Any:
    if not valid:
        raise ValueError(f"expected {what}, but got {value!r}")
    return value


def integer(value: Any) -> int:
    return _checked(value, type(value) is int, "an integer")


def _byte(value: Any) -> int:
    return _checked(value, 0 <= integer(value) <= 255, "a number from 0 to 255")


def _number(value: Any) -> float:
    valid = type(value) in (int, float) and math.isfinite(value)
    return float(_checked(value, valid, "a number"))


def _numbers(value: dict[str, Any]) -> dict[str, float]:
    return {_text(name): _number(number) for name, number in value.items()}


def _text(value: Any) -> str:
    return _checked(value, isinstance(value, str), "a text")


def _precision(value: Any) -> str:
    return _checked(value, value in PRECISIONS, f"one of {', '.join(PRECISIONS)}")


def _range(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    low, high = (_number(v) for v in value)
    return _checked((low, high), 0 <= low <= high > 0, "0 ≤ low ≤ high")


def _training(value: dict[str, Any]) -> dict[str, Any]:
    focal = value["canonical_focal"]
    valid = focal is None or _number(focal) > 0
    return {
        "canonical_focal": _checked(focal, valid, "a positive canonical_focal"),
        "horizontal_fov": _range(value["horizontal_fov"]),
        "training_data": _text(value["data"]),
        "commit": _text(value["commit"]),
        "license": _text(value.get("license", "")),
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
    sky = None if value["sky"] is None else integer(value["sky"])
    # A train id equal to IGNORE would mean unlabelled.
    if len(names) > IGNORE or len(ids) != len(names) or len(palette) != len(names):
        raise ValueError("names, dataset_ids and palette do not match")
    if any(len(color) != 3 for color in palette):
        raise ValueError("a palette entry is not an RGB triple")
    if sky is not None and not 0 <= sky < len(names):
        raise ValueError(f"the sky class {sky} is not among the {len(names)} classes")
    # Files of older versions have no aliases.
    aliases = tuple((_text(alias), integer(i)) for alias, i in value.get("aliases", ()))
    if any(not 0 <= i < len(names) for _, i in aliases):
        raise ValueError(f"an alias is of none of the {len(names)} classes")
    return ClassTable(_text(value["dataset"]), names, ids, palette, sky, aliases)  # type: ignore[arg-type]


def _reference(value: dict[str, Any]) -> Reference:
    reference = Reference(
        png=base64.b64decode(_text(value["png"]), validate=True),
        rows=_unpack(value["rows"], np.uint16),
        cols=_unpack(value["cols"], np.uint16),
        values={n: _unpack(value[n], dtype) for n, dtype in OUTPUTS.items() if n in value},
    )
    if tuple(reference.values) not in OUTPUT_SETS:
        raise ValueError(f"it has the outputs {', '.join(reference.values) or 'none'}")
    columns = (reference.cols, *reference.values.values())
    if len(reference.rows) == 0 or any(len(c) != len(reference.rows) for c in columns):
        raise ValueError("its columns are empty or of unequal length")
    if not reference.png.startswith(b"\x89PNG"):
        raise ValueError("its image is not a PNG")
    return reference


def calibration(value: dict[str, Any] | None) -> Calibration | None:
    """Read how a file was calibrated; None if it was not."""
    if value is None:
        return None
    found = Calibration(
        temperature=_number(value["temperature"]),
        std_scale=_number(value["std_scale"]),
        std_doubt=_number(value["std_doubt"]),
        frames=_text(value["frames"]),
        before=_numbers(value["before"]),
        after=_numbers(value["after"]),
        distance=_distance(value.get("distance")),
    )
    positive = found.temperature > 0 and found.std_scale > 0 and found.std_doubt >= 0
    return _checked(found, positive, "a temperature and a std_scale above 0, a std_doubt from 0")


def _distance(value: dict[str, Any] | None) -> Distance | None:
    if value is None:
        return None
    found = Distance(
        mean=tuple(_number(x) for x in value["mean"]),
        scale=tuple(_number(x) for x in value["scale"]),
        near=_number(value["near"]),
        far=_number(value["far"]),
        temperature=_number(value["temperature"]),
        std_factor=_number(value["std_factor"]),
    )
    valid = len(found.mean) == len(found.scale) and all(x > 0 for x in found.scale)
    valid = valid and 0 <= found.near < found.far and found.temperature > 0
    valid = valid and found.std_factor >= 1
    return _checked(found, valid, "features of equal number, scales above 0, and near below far")


PARSERS: dict[str, Callable[[Any], Any]] = {
    "name": _text,
    "precision": _precision,
    "classes": _classes,
    "depth_range": _range,
    "training": _training,
    "metrics": _numbers,
    "tolerances": _tolerances,
    "reference": _reference,
}


def pack(values: np.ndarray, dtype: type[np.generic]) -> str:
    """Base64 of the little-endian bytes: exact, and it keeps Inf and NaN, which JSON lacks."""
    return base64.b64encode(values.astype(np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def _unpack(text: Any, dtype: type[np.generic]) -> np.ndarray:
    raw = base64.b64decode(_text(text), validate=True)
    return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).astype(dtype)
