"""Compare two runs of one model: a sampled reference, errors and tolerances.

Engines differ: another processor, TensorRT, half precision. The model file therefore holds a
`Reference` (an image and outputs of the exporting run at a few thousand pixels) and, for each
precision, tolerances on the errors that `measure_errors` returns:

| key | meaning | tolerance |
|---|---|---|
| `labels_agree` | fraction of pixels with the same class | ≥ |
| `depth_kind_agree` | fraction of pixels where both are finite, both +Inf or both NaN | ≥ |
| `label_uncertainty_abs` | largest absolute difference | ≤ |
| `depth_rel`, `depth_std_rel` | largest relative difference where both are finite | ≤ |

Relative differences divide by `FLOOR_M` where a value is smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

FLOOR_M = 0.5
"""Smallest divisor of a relative error, metres: depth may be close to zero."""

FP32_TOLERANCES = {
    "labels_agree": 0.999,
    "depth_kind_agree": 0.999,
    "label_uncertainty_abs": 1e-3,
    "depth_rel": 1e-3,
    "depth_std_rel": 1e-3,
}
"""Tolerances of engines that compute in single precision."""

FP16_TOLERANCES = {
    "labels_agree": 0.99,
    "depth_kind_agree": 0.99,
    "label_uncertainty_abs": 0.05,
    "depth_rel": 0.05,
    "depth_std_rel": 0.1,
}
"""Tolerances of half precision. It changes 0.1 % of the labels of a SegDepthFormer-B0, and the
other three by 0.01, 0.001 and 0.001; the limits leave room for depths close to zero."""

ERROR_NAMES = tuple(FP32_TOLERANCES)


@dataclass(frozen=True, eq=False)
class Reference:
    """Outputs of one run at sampled pixels.

    `png` is the input image (H, W, 3) of the network's size. `rows` and `cols` are the pixels in
    the outputs, uint16 (n,), and `values` maps each output's name to its values there, (n,).
    """

    png: bytes
    rows: np.ndarray
    cols: np.ndarray
    values: Mapping[str, np.ndarray]

    @classmethod
    def sample(
        cls, png: bytes, outputs: Mapping[str, np.ndarray], count: int = 4096, seed: int = 0
    ) -> Reference:
        """Sample `count` pixels uniformly from `outputs`, name -> (H, W)."""
        height, width = next(iter(outputs.values())).shape
        drawn = np.random.default_rng(seed).permutation(height * width)[:count]
        rows, cols = np.unravel_index(np.sort(drawn), (height, width))
        return cls(
            png=png,
            rows=rows.astype(np.uint16),
            cols=cols.astype(np.uint16),
            values={name: values[rows, cols] for name, values in outputs.items()},
        )

    def errors(self, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Errors of `outputs`, name -> (H, W), against this reference."""
        sampled = {name: outputs[name][self.rows, self.cols] for name in self.values}
        return measure_errors(sampled, self.values)


def encode_png(rgb: np.ndarray) -> bytes:
    """Encode an image, uint8 (H, W, 3), for a `Reference`."""
    return cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()


def measure_errors(
    measured: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Errors between two sets of outputs (equal shapes), by the names of the table above.

    Only the errors of outputs in `expected` are computed. A NaN in `label_uncertainty` counts as
    an infinite error.
    """
    errors = {}
    if "labels" in expected:
        errors["labels_agree"] = float(np.mean(measured["labels"] == expected["labels"]))
        got64 = np.asarray(measured["label_uncertainty"], np.float64)
        uncertainty = np.abs(got64 - expected["label_uncertainty"])
        errors["label_uncertainty_abs"] = float(np.max(np.nan_to_num(uncertainty, nan=np.inf)))
    agree = []
    for name in (name for name in ("depth", "depth_std") if name in expected):
        got, want = np.asarray(measured[name]), np.asarray(expected[name])
        agree.append((np.isinf(got) == np.isinf(want)) & (np.isnan(got) == np.isnan(want)))
        errors[f"{name}_rel"] = _largest_relative(got, want)
    if agree:
        errors["depth_kind_agree"] = float(np.mean(np.all(agree, axis=0)))
    return errors


def violations(errors: Mapping[str, float], tolerances: Mapping[str, float]) -> list[str]:
    """One phrase for each error that exceeds its tolerance."""
    phrases = []
    for name, error in errors.items():
        limit = tolerances[name]
        at_least = name.endswith("_agree")
        # `not` makes NaN a violation.
        if not (error >= limit if at_least else error <= limit):
            phrases.append(f"{name} {error:.6g} (must be {'≥' if at_least else '≤'} {limit:g})")
    return phrases


def _largest_relative(got: np.ndarray, want: np.ndarray) -> float:
    both = np.isfinite(got) & np.isfinite(want)
    got64, want64 = got[both].astype(np.float64), want[both].astype(np.float64)
    return float(np.max(np.abs(got64 - want64) / np.maximum(np.abs(want64), FLOOR_M), initial=0.0))
