"""Triangle meshes with texture coordinates, and the basic shapes of a street.

Coordinates are metres, x forward, y left, z up. Faces are counter-clockwise seen from outside: the
renderer culls the other side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

Pair = tuple[float, float]


@dataclass(frozen=True)
class Mesh:
    """Vertices (V,3) m, unit normals (V,3), texture coordinates (V,2) in tiles, faces (F,3)."""

    vertices: np.ndarray
    normals: np.ndarray
    uvs: np.ndarray
    faces: np.ndarray

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> Mesh:
        """Rotate the mesh by `yaw` (rad, about z), then translate it."""
        c, s = np.cos(yaw), np.sin(yaw)
        rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T
        return Mesh(
            self.vertices @ rotation + (x, y, z), self.normals @ rotation, self.uvs, self.faces
        )

    def scaled(self, x: float, y: float, z: float) -> Mesh:
        """Scale the mesh along each axis; the factors are positive."""
        factor = np.array([x, y, z])
        normals = self.normals / factor
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return Mesh(self.vertices * factor, normals, self.uvs, self.faces)

    def flipped(self) -> Mesh:
        """Reverse the normals and the faces, so that the other side is visible."""
        return Mesh(self.vertices, -self.normals, self.uvs, self.faces[:, ::-1])

    def oriented_along(self, direction: ArrayLike) -> Mesh:
        """Flip the mesh if its normals point away from `direction`, (3,) or per vertex (V,3)."""
        return self.flipped() if np.sum(self.normals * np.asarray(direction)) < 0 else self

    def oriented_outward(self) -> Mesh:
        """Flip the mesh if its normals point to its centre."""
        return self.oriented_along(self.vertices - self.vertices.mean(axis=0))


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """Join meshes into one."""
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    pairs = zip(meshes, offsets, strict=True)
    arrays = zip(*((m.vertices, m.normals, m.uvs, m.faces + o) for m, o in pairs), strict=True)
    return Mesh(*map(np.concatenate, arrays))


def grid(points: np.ndarray, uvs: np.ndarray, two_sided: bool = False) -> Mesh:
    """Make a smooth surface. Its normals point along (row direction) × (column direction).

    Args:
        points: positions (R,C,3), m.
        uvs: texture coordinates (R,C,2).
        two_sided: make both sides visible.
    """
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b = index[:-1, :-1].ravel(), index[1:, :-1].ravel()
    c, d = index[1:, 1:].ravel(), index[:-1, 1:].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    vertices = points.reshape(-1, 3)
    mesh = Mesh(vertices, _smooth_normals(vertices, faces), uvs.reshape(-1, 2), faces)
    if two_sided:
        mesh = merge([mesh, mesh.flipped()])
    return mesh


def quad(corners: ArrayLike, tiles: Pair = (1.0, 1.0), two_sided: bool = False) -> Mesh:
    """Make a flat face; corners (4,3) counter-clockwise, the first one at (u,v) = (0,0)."""
    points = np.asarray(corners, float)[[[0, 3], [1, 2]]]
    u, v = tiles
    return grid(points, np.array([[[0, 0], [0, v]], [[u, 0], [u, v]]], float), two_sided)


def upright(base: ArrayLike, heights: Pair, tiles: Pair, two_sided: bool = False) -> Mesh:
    """Make a vertical face above a line.

    Args:
        base: ends of the line (2,3), m; seen from outside, the left one first.
        heights: heights of the lower and the upper edge above the line, m.
        tiles: number of texture tiles in both directions.
        two_sided: make both sides visible.
    """
    low, high = (np.asarray(base, float) + (0, 0, z) for z in heights)
    return quad([*low, *high[::-1]], tiles, two_sided)


def box(size: Sequence[float], tile: float | None = None) -> Mesh:
    """Make a box, centred at the origin in x and y, that stands on z = 0.

    Args:
        size: lengths (x, y, z), m.
        tile: metres per texture tile; None maps one tile to every face.
    """
    lx, ly, lz = size
    x, y = lx / 2, ly / 2
    base = np.array([(-x, -y, 0), (x, -y, 0), (x, y, 0), (-x, y, 0)])

    def tiles(a: float, b: float) -> Pair:
        return (a / tile, b / tile) if tile else (1.0, 1.0)

    sides = zip(base, np.roll(base, -1, axis=0), (lx, ly, lx, ly), strict=True)
    walls = [upright((a, b), (0, lz), tiles(length, lz)) for a, b, length in sides]
    ends = (quad(corners, tiles(lx, ly)) for corners in (base + (0, 0, lz), base[::-1]))
    return merge([*walls, *ends])


def tube(points: ArrayLike, radii: ArrayLike, sides: int = 8, tile: float = 1.0) -> Mesh:
    """Make a closed tube through points (N,3), m, with one radius each; `tile` as for `box`."""
    points = np.asarray(points, float)
    tangents = np.gradient(points, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    reference = np.array([0.0, 1.0, 0.0]) if abs(tangents[0, 1]) < 0.9 else np.array([1.0, 0, 0])
    across = np.cross(tangents, reference)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    up = np.cross(tangents, across)
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.cos(angle)[:, None, None] * across + np.sin(angle)[:, None, None] * up
    body = points + ring * np.asarray(radii, float)[:, None]  # (sides+1, N, 3)
    ends = [np.repeat(points[[i]], sides + 1, 0)[:, None] for i in (0, -1)]
    body = np.concatenate([ends[0], body, ends[1]], axis=1)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    length = np.concatenate([[0], length, length[-1:]]) / tile
    uvs = np.stack(np.broadcast_arrays((angle / (2 * np.pi))[:, None], length[None]), -1)
    return grid(body, uvs)


def disc(radius: float, thickness: float, sides: int = 20, start: float = 0.0) -> Mesh:
    """Make a wheel or a plate at the origin, axis along y; each face shows one texture tile.

    Three or four `sides` give a triangle or a square; `start` is the angle of the first corner,
    rad, from x towards z.
    """
    angle = start + np.linspace(0, 2 * np.pi, sides + 1)
    x, z = radius * np.cos(angle), radius * np.sin(angle)
    edges, faces = [], []
    for y in (-thickness / 2, thickness / 2):
        edges.append(np.stack([x, np.full_like(x, y), z], -1))
        points = np.stack([edges[-1], np.broadcast_to((0.0, y, 0.0), (sides + 1, 3))], 1)
        uv = 0.5 + 0.5 * points[..., [0, 2]] / radius
        faces.append(grid(points, uv).oriented_along((0, y, 0)))
    rim_uv = np.broadcast_to((0.02, 0.0), (sides + 1, 2, 2))  # the texture's edge shows the tyre
    return merge([grid(np.stack(edges, 1), rim_uv).oriented_outward(), *faces])


def loft(positions: np.ndarray, sections: np.ndarray) -> Mesh:
    """Make a hull through cross-sections, closed at both ends, for example a car body.

    Args:
        positions: x of each section (N,), m, ascending.
        sections: (N,M,2) points (y,z) from the right sill over the roof to the left sill, m; M is
            odd.

    Returns:
        Mesh with u = 0…1 along x and v = 0…1 along the section.
    """
    count, width = sections.shape[:2]
    x = np.broadcast_to(positions[:, None, None], (count, width, 1))
    points = np.concatenate([x, sections], axis=2)
    u = (positions - positions[0]) / (positions[-1] - positions[0])
    uv = np.stack(np.broadcast_arrays(u[:, None], np.linspace(0, 1, width)[None]), -1)
    ends = []
    for i, sign in ((0, -1.0), (-1, 1.0)):
        pair = np.stack([points[i, width // 2 :: -1], points[i, width // 2 :]], 1)
        uv_end = np.full((len(pair), 2, 2), 0.999 * (i != 0))
        ends.append(grid(pair, uv_end).oriented_along((sign, 0, 0)))
    bottom = np.stack([points[:, -1], points[:, 0]], 1)
    floor = grid(bottom, np.full((count, 2, 2), 0.001)).oriented_along((0, 0, -1))
    return merge([grid(points, uv).oriented_outward(), *ends, floor])


def blob(rng: np.random.Generator, roughness: float, detail: int = 2, tiles: float = 2.0) -> Mesh:
    """Make a rough unit ball, for example a tree crown; `tiles` is texture tiles per radius."""
    vertices, faces = _icosphere(detail)
    waves = rng.normal(size=(6, 3)) * np.array([2, 2, 3, 3, 5, 6])[:, None]
    phases = rng.uniform(0, 2 * np.pi, 6)
    weights = np.array([0.5, 0.5, 0.4, 0.4, 0.3, 0.3])
    bumps = np.sin(vertices @ waves.T + phases) @ weights
    bumps += 0.35 * rng.normal(size=len(vertices))
    shape = vertices * (1 + roughness * bumps)[:, None]
    azimuth = np.arctan2(shape[:, 1], shape[:, 0])
    uvs = np.stack([np.abs(azimuth) * 1.2, shape[:, 2] + 0.5 * np.cos(2 * azimuth)], 1) * tiles
    return Mesh(shape, _smooth_normals(shape, faces), uvs, faces)


def _smooth_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Compute unit normals (V,3): the mean of the faces' normals, weighted by area."""
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(total, faces[:, i], normal)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-12, total / np.maximum(length, 1e-12), (0.0, 0.0, 1.0))


@cache
def _icosphere(detail: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a unit sphere from an icosahedron by splitting each face `detail` times into four."""
    g = (1 + 5**0.5) / 2  # golden ratio
    corners: list[tuple[float, float, float]]
    corners = [(-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0), (0, -1, g), (0, 1, g)]
    corners += [(0, -1, -g), (0, 1, -g), (g, 0, -1), (g, 0, 1), (-g, 0, -1), (-g, 0, 1)]
    faces = [(0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4)]
    faces += [(11, 10, 2), (10, 7, 6), (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8)]
    faces += [(3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1)]
    points = [np.array(c, float) / np.linalg.norm(c) for c in corners]
    for _ in range(detail):

        @cache
        def middle(edge: frozenset[int]) -> int:
            a, b = edge
            points.append((points[a] + points[b]) / np.linalg.norm(points[a] + points[b]))
            return len(points) - 1

        split = []
        for a, b, c in faces:
            ab, bc, ca = (middle(frozenset(edge)) for edge in ((a, b), (b, c), (c, a)))
            split += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        faces = split
    return np.array(points), np.array(faces)
