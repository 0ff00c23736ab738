"""Triangle meshes with texture coordinates, and the basic shapes of a street.

Coordinates are metres, x forward, y left, z up. Faces are counter-clockwise seen from outside: the
renderer culls the other side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np


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
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        return Mesh(
            self.vertices @ turn.T + (x, y, z), self.normals @ turn.T, self.uvs, self.faces
        )

    def scaled(self, x: float, y: float, z: float) -> Mesh:
        """Scale the mesh along each axis; the factors are positive."""
        factor = np.array([x, y, z])
        normals = self.normals / factor
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return Mesh(self.vertices * factor, normals, self.uvs, self.faces)

    def flipped(self) -> Mesh:
        """Turn the outer side of the surface to the inside."""
        return Mesh(self.vertices, -self.normals, self.uvs, self.faces[:, ::-1])


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """Join meshes into one."""
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.uvs for mesh in meshes]),
        np.concatenate([m.faces + o for m, o in zip(meshes, offsets, strict=True)]),
    )


def grid(points: np.ndarray, uvs: np.ndarray, two_sided: bool = False) -> Mesh:
    """Make a smooth surface; rows × columns (cross product) points to the outside.

    Args:
        points: positions (R,C,3), m.
        uvs: texture coordinates (R,C,2).
        two_sided: make it visible from behind, too.
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


def quad(
    corners: np.ndarray, tiles: tuple[float, float] = (1.0, 1.0), two_sided: bool = False
) -> Mesh:
    """Make a flat face; corners (4,3) counter-clockwise, the first one at (u,v) = (0,0)."""
    corners = np.asarray(corners, float)
    points = np.array([[corners[0], corners[3]], [corners[1], corners[2]]])
    u, v = tiles
    return grid(points, np.array([[[0, 0], [0, v]], [[u, 0], [u, v]]], float), two_sided)


def box(size: Sequence[float], tile: float | None = None) -> Mesh:
    """Make a box, centred at the origin in x and y, that stands on z = 0.

    Args:
        size: lengths (x, y, z), m.
        tile: metres per texture tile; None maps one tile to every face.
    """
    lx, ly, lz = size
    x, y = lx / 2, ly / 2
    low = [(-x, -y, 0), (x, -y, 0), (x, y, 0), (-x, y, 0)]
    high = [(px, py, lz) for px, py, _ in low]
    sides = [[low[i], low[(i + 1) % 4], high[(i + 1) % 4], high[i]] for i in range(4)]
    faces = [*sides, high, low[::-1]]
    sizes = np.array([[lx, lz], [ly, lz], [lx, lz], [ly, lz], [lx, ly], [lx, ly]])
    tiles = np.ones((6, 2)) if tile is None else sizes / tile
    return merge([quad(np.array(face), uv) for face, uv in zip(faces, tiles, strict=True)])


def tube(
    points: np.ndarray, radii: Sequence[float] | np.ndarray, sides: int = 8, tile: float = 1.0
) -> Mesh:
    """Make a closed tube through points (N,3), m, with one radius each: limbs, poles, trunks."""
    points = np.asarray(points, float)
    tangents = np.gradient(points, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    helper = np.array([0.0, 1.0, 0.0]) if abs(tangents[0, 1]) < 0.9 else np.array([1.0, 0, 0])
    across = np.cross(tangents, helper)
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
    half = thickness / 2
    rim = np.stack([np.stack([x, np.full_like(x, y), z], -1) for y in (-half, half)], 1)
    rim_uv = np.zeros((sides + 1, 2, 2))
    rim_uv[..., 0] = 0.02  # edge of the texture: the tyre
    caps = []
    for y in (-half, half):
        edge = np.stack([x, np.full_like(x, y), z], -1)
        centre = np.zeros_like(edge)
        centre[:, 1] = y
        points = np.stack([edge, centre], 1)
        uv = 0.5 + 0.5 * points[..., [0, 2]] / radius
        caps.append(_facing(grid(points, uv), (0.0, np.sign(y), 0.0)))
    return merge([_outward(grid(rim, rim_uv)), *caps])


def loft(stations: np.ndarray, sections: np.ndarray) -> Mesh:
    """Make a hull through cross-sections, closed at both ends: car bodies.

    Args:
        stations: x of each section (N,), m, ascending.
        sections: (N,M,2) points (y,z) from the right sill over the roof to the left sill, m.

    Returns:
        Mesh with u = 0…1 along x and v = 0…1 along the section.
    """
    count, width = sections.shape[:2]
    x = np.broadcast_to(stations[:, None, None], (count, width, 1))
    points = np.concatenate([x, sections], axis=2)
    u = (stations - stations[0]) / (stations[-1] - stations[0])
    uv = np.stack(np.broadcast_arrays(u[:, None], np.linspace(0, 1, width)[None]), -1)
    ends = []
    for i, sign in ((0, -1.0), (-1, 1.0)):
        left, right = points[i, : width // 2 + 1][::-1], points[i, width // 2 :]
        n = min(len(left), len(right))
        pair = np.stack([left[:n], right[:n]], 1)
        ends.append(_facing(grid(pair, np.full((n, 2, 2), 0.999 * (i != 0))), (sign, 0, 0)))
    bottom = np.stack([points[:, -1], points[:, 0]], 1)
    floor = _facing(grid(bottom, np.full((count, 2, 2), 0.001)), (0, 0, -1))
    return merge([_outward(grid(points, uv)), *ends, floor])


def blob(rng: np.random.Generator, roughness: float, detail: int = 2, tile: float = 2.0) -> Mesh:
    """Make a rough unit ball (tree crowns, bushes, heads); `tile` is texture tiles per radius."""
    vertices, faces = _icosphere(detail)
    waves = rng.normal(size=(6, 3)) * np.array([2, 2, 3, 3, 5, 6])[:, None]
    phases = rng.uniform(0, 2 * np.pi, 6)
    weights = np.array([0.5, 0.5, 0.4, 0.4, 0.3, 0.3])
    bumps = np.sin(vertices @ waves.T + phases) @ weights
    bumps += 0.35 * rng.normal(size=len(vertices))
    shape = vertices * (1 + roughness * bumps)[:, None]
    turn = np.arctan2(shape[:, 1], shape[:, 0])
    uvs = np.stack([np.abs(turn) * 1.2, shape[:, 2] + 0.5 * np.cos(2 * turn)], 1) * tile
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


def _facing(mesh: Mesh, direction: Sequence[float] | np.ndarray) -> Mesh:
    """Flip a nearly flat mesh if it faces away from `direction`."""
    if np.sum(mesh.normals @ np.asarray(direction, float)) < 0:
        return mesh.flipped()
    return mesh


def _outward(mesh: Mesh) -> Mesh:
    """Flip a surface that faces its own centre."""
    centre = mesh.vertices.mean(axis=0)
    if np.sum(mesh.normals * (mesh.vertices - centre)) < 0:
        return mesh.flipped()
    return mesh


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
        middle: dict[tuple[int, int], int] = {}

        def half(a: int, b: int, middle=middle) -> int:
            key = (min(a, b), max(a, b))
            if key not in middle:
                point = points[a] + points[b]
                middle[key] = len(points)
                points.append(point / np.linalg.norm(point))
            return middle[key]

        split = []
        for a, b, c in faces:
            ab, bc, ca = half(a, b), half(b, c), half(c, a)
            split += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        faces = split
    return np.array(points), np.array(faces)
