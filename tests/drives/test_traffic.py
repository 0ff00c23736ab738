from functools import cache, partial

import numpy as np
import pytest

from emu_core.drives.layout import VIEW, Layout, draw_layout
from emu_core.drives.objects import people, vehicles
from emu_core.drives.objects.intruders import draw_intruder, make_room, unknown_object
from emu_core.drives.objects.shapes import Actor
from emu_core.drives.traffic import Ego, Mover, draw_ego, in_the_way, populate

SEEDS = range(8)
DURATION, SPEED = 8.0, 8.0


@cache
def street(seed: int) -> tuple[Layout, Ego, list[Mover]]:
    rng = np.random.default_rng(seed)
    end = SPEED * DURATION + VIEW
    layout = draw_layout(rng, end)
    ego = draw_ego(rng, layout, DURATION, SPEED)
    return layout, ego, populate(rng, layout, ego, end)


@pytest.fixture(scope="module", params=SEEDS)
def drawn(request) -> tuple[Layout, Ego, list[Mover]]:
    return street(request.param)


def test_a_mover_moves_in_a_straight_line():
    mover = Mover(people.person(np.random.default_rng(0)), 10.0, -2.0, speed=3.0, drift=-0.5)
    assert mover.at(4.0) == (22.0, -4.0)
    s, d = mover.at(np.array([0.0, 2.0]))
    np.testing.assert_array_equal(s, [10, 16])
    np.testing.assert_array_equal(d, [-2, -3])


def test_no_mover_comes_near_the_camera(drawn):
    _, ego, movers = drawn
    time = np.linspace(0, ego.duration, 401)
    for mover in movers:
        s, d = mover.at(time)
        ahead = np.abs(s - ego.s(time)) - mover.actor.length / 2
        beside = np.abs(d - ego.d) - mover.actor.width / 2
        assert np.all((ahead > 4.5) | (beside > 1.1)), mover


@pytest.mark.parametrize(
    ("s", "d", "speed", "expected"),
    [
        (6.9, -2.0, 8.0, True),  # its rear is 4.9 m ahead, it is as fast as the camera
        (7.1, -2.0, 8.0, False),
        (40.0, -2.0, 0.0, True),  # stands in the lane
        (40.0, 0.1, 0.0, True),  # its side is 1.1 m beside the camera's path
        (40.0, 0.3, 0.0, False),
        (100.0, -2.0, -8.0, True),  # oncoming
        (-30.0, -2.0, 16.0, True),  # comes from behind and is faster
        (200.0, -2.0, -8.0, False),  # oncoming, but too far away
    ],
)
def test_movers_that_the_camera_would_meet_are_in_the_way(s, d, speed, expected):
    """The camera drives at d = −2 m with 8 m/s for 8 s; the other is 4 m long and 2 m wide."""
    mover = Mover(Actor([], length=4.0, width=2.0), s, d, speed)
    assert in_the_way(mover, Ego(-2.0, 8.0, 8.0)) is expected


def test_vehicles_in_a_lane_do_not_collide(drawn):
    _, ego, movers = drawn
    driving = [m for m in movers if abs(m.speed) > 1.7]  # faster than people walk
    assert driving
    time = np.linspace(0, ego.duration, 41)
    for i, one in enumerate(driving):
        for other in driving[i + 1 :]:
            if one.speed != other.speed:  # each lane has one speed
                continue
            gap = np.abs(one.at(time)[0] - other.at(time)[0])
            apart = gap - (one.actor.length + other.actor.length) / 2
            assert np.all(apart > 3.9)


def test_every_mover_is_where_it_belongs(drawn):
    layout, _, movers = drawn
    for mover in movers:
        side = 0 if mover.d > 0 else 1
        if abs(mover.speed) > 1.7:  # vehicles keep right and face their direction of travel
            assert np.sign(mover.d) == -np.sign(mover.speed)
            assert abs(mover.d) < layout.lanes * layout.lane
            assert np.cos(mover.heading) == np.sign(mover.speed)
        elif mover.drift:  # people cross at junctions
            assert layout.at_junction(mover.s, 8)
        elif mover.actor.limbs:  # other people are on the sidewalks
            assert layout.edge(side) - 0.3 < abs(mover.d) < layout.front(side) + 0.7
        elif mover.z == 0:  # parked vehicles are in the parking lane and not in junctions
            assert abs(mover.d) == pytest.approx(layout.edge(side) - layout.parking[side] / 2)
            assert not layout.at_junction(mover.s, 6)


def test_the_street_has_traffic_of_several_kinds():
    labels = {p.label for seed in SEEDS for m in street(seed)[2] for p in m.actor.parts}
    assert {"car", "truck", "bus", "person", "rider", "bicycle", "motorcycle"} <= labels


TWO_WHEELERS = (partial(people.bicycle, ridden=True), partial(people.motorcycle, ridden=False))


@pytest.mark.parametrize(
    "make", [vehicles.car, vehicles.truck, vehicles.bus, vehicles.tram, *TWO_WHEELERS]
)
@pytest.mark.parametrize("seed", range(3))
def test_vehicles_stand_on_the_ground_and_have_their_stated_size(make, seed):
    actor = make(np.random.default_rng(seed))
    vertices = np.concatenate([part.mesh.vertices for part in actor.parts])
    low, high = vertices.min(0), vertices.max(0)
    assert low[2] == pytest.approx(0, abs=0.02)
    assert high[0] - low[0] == pytest.approx(actor.length, rel=0.12)
    assert high[1] - low[1] == pytest.approx(actor.width, rel=0.35)


def test_a_pedestrian_has_a_human_height_and_four_limbs():
    heights = []
    for seed in range(40):
        actor = people.person(np.random.default_rng(seed))
        assert len(actor.limbs) == 4
        top = max(part.mesh.vertices[:, 2].max() for part in actor.parts)
        feet = min(
            (part.mesh.vertices[:, 2] + limb.pivot[2]).min()
            for limb in actor.limbs
            for part in limb.parts
        )
        assert feet == pytest.approx(0, abs=0.06)
        heights.append(top)
    assert min(heights) > 1.0 and max(heights) < 2.1
    assert 1.65 < np.median(heights) < 1.85


@pytest.mark.parametrize("seed", range(6))
def test_an_unknown_object_fills_its_box(seed):
    actor = unknown_object(np.random.default_rng(seed), (4.0, 1.8, 1.5))
    vertices = np.concatenate([part.mesh.vertices for part in actor.parts])
    np.testing.assert_allclose(vertices.min(0), [-2.0, -0.9, 0], atol=1e-9)
    np.testing.assert_allclose(vertices.max(0), [2.0, 0.9, 1.5], atol=1e-9)
    assert {part.label for part in actor.parts} == {"unknown"}


@pytest.mark.parametrize("seed", SEEDS)
def test_both_objects_of_a_pair_have_one_size_and_place_in_view_of_the_camera(seed):
    layout, ego, movers = street(seed)
    pair = draw_intruder(np.random.default_rng(seed), ego, layout)
    boxes = []
    for mover in (pair.unknown, pair.known):
        vertices = np.concatenate([part.mesh.vertices for part in mover.actor.parts])
        boxes.append(vertices.max(0) - vertices.min(0))
    np.testing.assert_allclose(boxes[0], boxes[1], atol=1e-9)
    assert (pair.unknown.s, pair.unknown.d) == (pair.known.s, pair.known.d)
    assert 9 <= pair.unknown.s - ego.s(ego.duration) <= 24
    assert -layout.edge(1) < pair.unknown.d < layout.edge(0)
    place = pair.unknown
    for mover in make_room(movers, pair, ego):
        s, d = mover.at(np.linspace(0, ego.duration, 200))
        clear = np.abs(s - place.s) > (mover.actor.length + place.actor.length) / 2 + 0.5
        assert np.all(clear | (np.abs(d - place.d) > mover.actor.width / 2 + 2.0))
