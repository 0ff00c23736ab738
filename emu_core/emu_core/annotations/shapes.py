"""Polygons of label maps, and label maps of polygons.

Coordinates are continuous, as in COCO and CVAT: pixel (x, y) covers x to x + 1 and y to y + 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from emu_core.data.sample import DataError

# A polygon's largest distance from the outline is _COARSENESS · area / perimeter of its region,
# within bounds, in pixels: the first keeps every pixel, the second leaves few corners to correct.
_COARSENESS, _EXACT, _COARSE = 0.05, 0.5, 2.0


def paint_mask(mask: np.ndarray, ids: np.ndarray, index: int) -> None:
    """Set the pixels of a mask (H, W) in a label map; DataError if they differ in size."""
    if mask.shape != ids.shape:
        raise DataError(
            f"a mask has {mask.shape[1]}×{mask.shape[0]} pixels, but the image has "
            f"{ids.shape[1]}×{ids.shape[0]}; was it resized or rotated?"
        )
    ids[mask.astype(bool)] = index


def paint_polygons(polygons: Sequence[Sequence[float]], ids: np.ndarray, index: int) -> None:
    """Set the pixels of polygons [x0, y0, x1, y1, …] in a label map, by COCO's own rule."""
    from pycocotools import mask  # comes with datumaro

    # pycocotools takes four numbers for a box; a polygon of two corners has no pixels.
    corners = [np.asarray(p, float).reshape(-1, 2) for p in polygons if len(p) >= 6]
    if not corners:
        return
    every = np.concatenate(corners)
    first = np.maximum(np.floor(every.min(axis=0)), 0)
    height, width = ids.shape
    last = np.minimum(np.ceil(every.max(axis=0)), (width, height))
    if (last <= first).any():  # outside of the image
        return
    (x, y), (w, h) = first.astype(int).tolist(), (last - first).astype(int).tolist()
    rles = mask.frPyObjects([(points - first).ravel().tolist() for points in corners], h, w)
    ids[y : y + h, x : x + w][mask.decode(mask.merge(rles)).astype(bool)] = index


def trace_polygons(indices: np.ndarray, smallest: float = 0.0) -> list[tuple[int, list[float]]]:
    """Return the polygons of a label map in the order in which they must be painted.

    A polygon has no holes: what lies in a hole of a region is painted after it. Regions of index 0
    have a polygon only if they can lie in a hole.

    Args:
        indices: Label map, uint8 (H, W).
        smallest: Regions with a smaller area get no polygon, pixels.

    Returns:
        Pairs of index and polygon [x0, y0, x1, y1, …], largest first.
    """
    height, width = indices.shape
    found: list[tuple[float, int, list[float]]] = []
    for index in np.flatnonzero(np.bincount(indices.ravel())):
        of_index = (indices == index).astype(np.uint8)
        # With four neighbours, regions that touch only at a corner are separate.
        count, regions, boxes, _ = cv2.connectedComponentsWithStats(of_index, connectivity=4)
        for region, (x, y, w, h, _) in zip(range(1, count), boxes[1:].tolist(), strict=True):
            if index == 0 and (x == 0 or y == 0 or x + w == width or y + h == height):
                continue
            mask = regions[y : y + h, x : x + w] == region
            area, polygon = _outline(mask.astype(np.uint8))
            if area >= smallest:
                found.append((area, int(index), (polygon + (x, y)).ravel().tolist()))
    found.sort(key=lambda each: -each[0])
    return [(index, polygon) for _, index, polygon in found]


def _outline(mask: np.ndarray) -> tuple[float, np.ndarray]:
    """Area and polygon (N, 2) of a region and its holes, along the edges of its pixels."""
    # In an image of twice the size, the contour passes through the centres of the outer pixels:
    # coordinate 2x is the pixel's left edge, 2x + 1 its right edge.
    double = np.kron(mask, np.ones((2, 2), np.uint8))
    (contour,), _ = cv2.findContours(double, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    edges = (contour + 1) // 2
    area = cv2.contourArea(edges)
    tolerance = np.clip(_COARSENESS * area / cv2.arcLength(edges, True), _EXACT, _COARSE)
    return area, cv2.approxPolyDP(edges, float(tolerance), True).reshape(-1, 2)
