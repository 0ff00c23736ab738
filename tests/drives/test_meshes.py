import numpy as np
import pytest

from emu_core.drives.objects.meshes import Mesh, blob, box, disc, grid, loft, merge, quad, tube


def volume(mesh: Mesh, origin=(0.0, 0.0, 0.0)) -> float:
    """Divergence theorem: ∮ x·n dA / 3, positive where the faces look outwards."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]] - origin for i in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def polygon_area(radius: float, sides: int) -> float:
    return 0.5 * sides * radius**2 * np.sin(2 * np.pi / sides)


def prism(length: float) -> Mesh:
    """A loft through equal sections: a house front 2 m wide, 1 m high, its gable 0.5 m higher."""
    section = np.array([(-1, 0), (-1, 1), (0, 1.5), (1, 1), (1, 0)], float)
    return loft(np.linspace(-length / 2, length / 2, 4), np.repeat(section[None], 4, 0))


POLE = np.array([[0, 0, 0], [0, 0, 1.0], [0, 0, 3]])
LYING = np.array([[0, 0, 1], [0, 2.0, 1]])
CONE = np.array([[0, 0, 0], [2.0, 0, 0]])
SOLIDS = {
    "box": (box((2.0, 3.0, 4.0)), 24.0),
    "tube": (tube(POLE, [0.5] * 3, 8), polygon_area(0.5, 8) * 3),
    "lying tube": (tube(LYING, [0.2, 0.2], 6), polygon_area(0.2, 6) * 2),
    "cone": (tube(CONE, [0.0, 0.6], 12), polygon_area(0.6, 12) * 2 / 3),
    "disc": (disc(0.4, 0.1, 20), polygon_area(0.4, 20) * 0.1),
    "triangle plate": (disc(0.4, 0.1, 3, -np.pi / 2), polygon_area(0.4, 3) * 0.1),
    "loft": (prism(6.0), 6.0 * 2.5),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_solids_are_closed_and_face_outwards_and_have_the_right_volume(name):
    mesh, expected = SOLIDS[name]
    assert volume(mesh) == pytest.approx(expected, rel=1e-9)
    # The integral is independent of the origin only for a closed surface.
    assert volume(mesh, (5.0, -7.0, 11.0)) == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-9)
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    corner = mesh.normals[mesh.faces].mean(axis=1)
    big = np.linalg.norm(face, axis=1) > 1e-9  # the caps of a tube have triangles without area
    assert np.all(np.einsum("ij,ij->i", face[big], corner[big]) > 0)


def test_a_smooth_blob_approaches_the_unit_ball_from_inside():
    volumes = [volume(blob(np.random.default_rng(0), 0.0, detail)) for detail in (1, 2, 3)]
    assert np.all(np.diff(volumes) > 0)
    assert 0.97 * 4 / 3 * np.pi < volumes[-1] < 4 / 3 * np.pi


def test_a_rough_blob_is_closed_and_its_lumps_differ_by_seed():
    mesh = blob(np.random.default_rng(3), 0.17, 2)
    assert volume(mesh) > 0
    assert volume(mesh, (4.0, 4.0, 4.0)) == pytest.approx(volume(mesh), rel=1e-9)
    assert not np.allclose(mesh.vertices, blob(np.random.default_rng(4), 0.17, 2).vertices)


def test_faces_refer_to_vertices_after_merging():
    parts = [box((1, 1, 1)), disc(0.3, 0.1), tube(np.array([[0, 0, 0], [0, 0, 1]]), [0.1, 0.1])]
    merged = merge([part.moved(x=3 * i) for i, part in enumerate(parts)])
    assert volume(merged) == pytest.approx(sum(volume(part) for part in parts))
    assert merged.faces.max() == len(merged.vertices) - 1


def test_a_quad_maps_its_corners_to_the_corners_of_its_tiles():
    corners = np.array([[0, 0, 0], [4, 0, 0], [4, 0, 2], [0, 0, 2]], float)
    mesh = quad(corners, (2.0, 1.5))
    uv = {tuple(v): tuple(t) for v, t in zip(mesh.vertices, mesh.uvs, strict=True)}
    assert [uv[tuple(c)] for c in corners] == [(0, 0), (2, 0), (2, 1.5), (0, 1.5)]
    np.testing.assert_allclose(mesh.normals, [[0, -1, 0]] * 4)  # counter-clockwise from −y


def test_a_two_sided_surface_has_faces_on_both_sides():
    flat = quad(np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float), two_sided=True)
    assert sorted(flat.normals[:, 2]) == [-1] * 4 + [1] * 4
    assert volume(flat, (0.3, 0.2, -5.0)) == pytest.approx(0)


def test_a_box_shows_its_texture_once_on_each_face_or_repeats_it_by_metres():
    once = box((2, 3, 4)).uvs.reshape(6, 4, 2)
    np.testing.assert_array_equal(once.min(axis=1), np.zeros((6, 2)))
    np.testing.assert_array_equal(once.max(axis=1), np.ones((6, 2)))
    tiled = box((2, 3, 4), tile=0.5).uvs.reshape(6, 4, 2)
    np.testing.assert_allclose(tiled.max(axis=1)[:2], [(4, 8), (6, 8)])


def test_scaling_keeps_normals_perpendicular_to_the_surface():
    slope = grid(
        np.array([[[0, 0, 0], [0, 1, 0]], [[1, 0, 1], [1, 1, 1]]], float), np.zeros((2, 2, 2))
    )
    scaled = slope.scaled(2.0, 1.0, 0.5)  # from 45° to a rise of 1 in 4
    np.testing.assert_allclose(
        scaled.normals, [np.array([-1, 0, 4]) / np.sqrt(17)] * 4, atol=1e-12
    )


def test_moving_rotates_first_and_then_translates():
    moved = box((2, 1, 1)).moved(10, 20, 30, np.pi / 2)
    np.testing.assert_allclose(moved.vertices.min(0), [9.5, 19, 30], atol=1e-12)
    np.testing.assert_allclose(moved.vertices.max(0), [10.5, 21, 31], atol=1e-12)
    assert volume(moved.flipped()) == pytest.approx(-2)
