"""What weights learned, kept in their files and compared before they are used.

    metadata["learned"] = {
        "method": "network", "trunk": None, "data": ["drives"], "classes": ["road", …],
        "canonical_focal": 500.0, "image_width": 512, "input_size": [256, 512],
        "depth_limit": 80.0, "max_depth": 80.0,
    }

A method is network, head (of a sub-ensemble), sub_ensemble or student; the trunk is the digest of
the encoder that heads share. Older files lack some or all of these values: only what both sides
have is compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emu_core.networks.weights import WeightsError, read_header

MEANING = ("classes", "canonical_focal", "image_width")
"""What every use of weights depends on."""

_LABELS = {
    "method": "trained as",
    "trunk": "shared trunk",
    "data": "kinds of data",
    "classes": "classes",
    "canonical_focal": "canonical focal length",
    "image_width": "image width in plain metres",
    "input_size": "input size",
    "depth_limit": "depth limit",
    "max_depth": "largest valid depth",
}
_METHODS = {
    "network": "an independent network",
    "head": "a head on a shared trunk",
    "sub_ensemble": "a sub-ensemble",
    "student": "a student",
}
_UNITS = {"canonical_focal": " px", "image_width": " px", "depth_limit": " m", "max_depth": " m"}
_DEPTH = ("canonical_focal", "image_width", "depth_limit", "max_depth")


def check_weights(
    path: str | Path,
    expected: Mapping[str, Any],
    source: str | Path,
    advice: str,
    keys: Sequence[str] = MEANING,
) -> None:
    """Check that a weights file learned what its use expects.

    Args:
        path: The file.
        expected: Values in the form of `metadata["learned"]`.
        source: Where they come from, for the message.
        advice: What to do, a sentence.
        keys: Which values are compared; only those of the tasks that the network has.

    Raises:
        WeightsError: Values differ, or the file is damaged; the message names both values.
    """
    header, metadata = read_header(path)
    kind, found = header["kind"], metadata.get("learned", {})
    left_out = {"SegFormer": _DEPTH, "DepthFormer": ("classes",)}.get(kind, ())
    keys = [key for key in keys if key not in left_out]
    expect_same(path, found, expected, source, advice, keys)


def expect_same(
    path: str | Path,
    found: Mapping[str, Any],
    expected: Mapping[str, Any],
    source: str | Path,
    advice: str,
    keys: Sequence[str] = tuple(_LABELS),
) -> None:
    """Raise a WeightsError if values of a file differ; arguments as `check_weights`."""
    differences = [
        f"{_LABELS[key]} {_text(key, found[key])} against {_text(key, expected[key])}"
        for key in keys
        if key in found and key in expected and _differ(key, found, expected)
    ]
    if differences:
        raise WeightsError(f"{path} and {source} disagree: {'; '.join(differences)}. {advice}")


def check_independent(paths: Sequence[str | Path]) -> None:
    """Check that no two networks have the same encoder; WeightsError names two that do."""
    known: dict[str, str | Path] = {}
    for path in paths:
        encoder = read_header(path)[0].get("encoder")  # older files have none
        if encoder and (other := known.setdefault(encoder, path)) is not path:
            raise WeightsError(
                f"{other} and {path} share one trunk (encoder {encoder[:8]}): they are heads of a "
                "sub-ensemble, or copies, but a Deep Ensemble needs networks trained "
                "independently. Use the sub_ensemble.safetensors of the heads with dse, or train "
                "an ensemble under another run.name."
            )


def _differ(key: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    first, second = found[key], expected[key]
    if key == "image_width":  # canonical metres do not depend on it
        plain = [x.get("canonical_focal", 0) is None for x in (found, expected)]
        return all(plain) and first != second
    if key == "trunk":  # unknown in older files
        return None not in (first, second) and first != second
    if isinstance(first, (int, float)) and isinstance(second, (int, float)):
        return not math.isclose(first, second, rel_tol=1e-6)
    return first != second


def _text(key: str, value: Any) -> str:
    if key in ("method", "trunk"):
        return _METHODS.get(value, str(value)[:8])
    if isinstance(value, (list, tuple)):
        shown = ", ".join(map(str, value[:6])) + (", …" if len(value) > 6 else "")
        return f"{len(value)} ({shown})" if key == "classes" else shown
    if value is None:
        return "none (plain metres)" if key == "canonical_focal" else "none"
    return f"{value:g}{_UNITS.get(key, '')}" if isinstance(value, (int, float)) else str(value)
