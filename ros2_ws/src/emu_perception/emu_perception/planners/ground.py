"""The plane of the ground, estimated from points of ground classes. Imports no ROS."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MIN_POINTS = 100
"""Fewer points give no plane."""

MAX_TILT = 0.5
"""Smallest cosine between the plane's normal and the image's upward axis: 60°."""

MAX_SCATTER = 0.15
"""Largest median distance of the points from the plane, as a fraction of the camera's height."""

_SAMPLES, _TRIALS = 1000, 64
_MIN_SPREAD = 4.0  # of the points in the plane, along both axes, in multiples of their scatter


class GroundPlane(NamedTuple):
    """A plane below the camera, in the camera's optical frame (x right, y down, z forward).

    `up` is the unit normal, float32 (3,), that points to the camera's side; `camera_height` is the
    distance of the camera from the plane, metres.
    """

    up: np.ndarray
    camera_height: float


def fit_ground(points: np.ndarray) -> GroundPlane | None:
    """Fit a plane to points, (N, 3) metres; up to half of them may lie elsewhere.

    Random planes through three points are compared by the median distance of all points (least
    median of squares), and least squares on the nearer half refine the best one. The result
    depends only on the points.

    Returns:
        None if the points do not determine a plane: fewer than `MIN_POINTS`, all near one line,
        scattered by more than `MAX_SCATTER`, or the plane is tilted by more than 60°.
    """
    if len(points) < MIN_POINTS:
        return None
    rng = np.random.default_rng(0)
    sample = points[rng.integers(len(points), size=_SAMPLES)].astype(np.float64)
    first, second, third = sample[rng.integers(_SAMPLES, size=(3, _TRIALS))]  # (_TRIALS, 3)
    normals = np.cross(second - first, third - first)
    lengths = np.linalg.norm(normals, axis=1)
    usable = lengths > 0
    if not usable.any():
        return None
    normals, first = normals[usable] / lengths[usable, None], first[usable]
    offsets = -np.sum(normals * first, axis=1)
    distances = np.abs(sample @ normals.T + offsets)  # (_SAMPLES, trials)
    scatters = np.median(distances, axis=0)
    best = int(scatters.argmin())
    inliers = sample[distances[:, best] <= 2 * scatters[best] + 1e-6]
    center = inliers.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov((inliers - center).T))
    up = axes[:, 0]
    camera_height = -float(up @ center)
    if camera_height < 0:
        up, camera_height = -up, -camera_height
    scatter = float(np.median(np.abs(sample @ up + camera_height)))
    spread = np.sqrt(max(variances[1], 0.0))
    if scatter > MAX_SCATTER * camera_height or -up[1] < MAX_TILT:
        return None
    if spread < _MIN_SPREAD * max(scatter, 0.01 * camera_height):
        return None
    return GroundPlane(up.astype(np.float32), camera_height)
