import numpy as np
import pytest

from emu_core.drives.layout import CURB, Layout, draw_layout, draw_path
from emu_core.drives.objects.meshes import box
from emu_core.drives.objects.scenery import Scenery

SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_centre_line_begins_at_the_origin_and_follows_its_yaw_with_d_to_the_left(seed):
    path = draw_path(np.random.default_rng(seed), -80, 300)
    np.testing.assert_allclose(path.world(0.0, 0.0), 0, atol=1e-9)
    assert path.yaw(0.0) == 0
    s = np.arange(-70, 290, 7.0)
    step = 0.25
    ahead = path.world(s + step, 0.0) - path.world(s - step, 0.0)
    angle = np.unwrap(np.arctan2(ahead[:, 1], ahead[:, 0]))
    np.testing.assert_allclose(angle, path.yaw(s), atol=0.01)
    np.testing.assert_allclose(np.hypot(ahead[:, 0], ahead[:, 1]), 2 * step, rtol=1e-3)
    left = np.stack([-np.sin(path.yaw(s)), np.cos(path.yaw(s)), np.zeros_like(s)], -1)
    np.testing.assert_allclose(path.world(s, 4.0) - path.world(s, 0.0), 4.0 * left, atol=1e-12)


def test_pitch_is_positive_downhill():
    path = draw_path(np.random.default_rng(4), -80, 300)
    s = 40.0
    fall = path.world(s - 2, 0.0)[2] - path.world(s + 2, 0.0)[2]
    assert path.pitch(s) == pytest.approx(np.arctan(fall / 4))
    assert abs(path.pitch(s)) > 1e-3


def test_meshes_are_placed_along_the_road(straight_path):
    placed = straight_path.place(box((4, 2, 1)), 20.0, -3.0, 0.5)
    np.testing.assert_allclose(placed.vertices.min(0), [18, -4, 0.5], atol=1e-12)
    np.testing.assert_allclose(placed.vertices.max(0), [22, -2, 1.5], atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_widths_of_a_street_add_up_and_junctions_do_not_touch(seed):
    layout = draw_layout(np.random.default_rng(seed), 300)
    for side in (0, 1):
        assert layout.edge(side) == layout.lanes * layout.lane + layout.parking[side]
        assert layout.front(side) >= layout.edge(side) + 1.8
    edges = np.array(layout.junctions).ravel()
    assert np.all(np.diff(edges) > 5)
    for s0, s1 in layout.junctions:
        assert layout.at_junction((s0 + s1) / 2, 0)
        assert layout.at_junction(s1 + 0.5, 1) and not layout.at_junction(s1 + 1.5, 1)


def test_ribbons_face_up_and_have_the_given_width_and_height(stage):
    stage.scenery.ribbon((0, 10), (2.0, -3.0), (0.1, 0.1), "plain", "road")
    stage.scenery.ribbon((0, 10), (-3.0, 2.0), (0.1, 0.1), "plain", "road")
    for part in stage.scenery.parts:
        np.testing.assert_allclose(part.mesh.normals, [[0, 0, 1]] * len(part.mesh.normals))
        np.testing.assert_allclose(part.mesh.vertices.min(0), [0, -3, 0.1], atol=1e-12)
        np.testing.assert_allclose(part.mesh.vertices.max(0), [10, 2, 0.1], atol=1e-12)


def test_an_upright_ribbon_is_visible_from_both_sides(stage):
    stage.scenery.ribbon((0, 10), (2.0, 2.0), (0.0, CURB), "plain", "sidewalk")
    normals = stage.scenery.parts[0].mesh.normals
    assert set(np.round(normals[:, 1])) == {-1.0, 1.0}


def test_sidewalks_are_interrupted_at_junctions(straight_path):
    layout = Layout("urban", 1, 3.5, (0, 0), (0, 0), (2, 2), ((30, 38), (90, 97)), False)
    scenery = Scenery(np.random.default_rng(0), straight_path, layout, -35, 200)
    assert scenery.gaps() == [(-35, 30), (38, 90), (97, 200)]
