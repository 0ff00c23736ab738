"""Build a street without traffic: roads, sidewalks and ground, and the objects on them."""

from __future__ import annotations

import numpy as np

from emu_core.drives.layout import CURB, CentreLine, Layout, Rng, sign_of
from emu_core.drives.objects import textures
from emu_core.drives.objects.buildings import FACADES, SHOPS, Plot, building, line_with_plots
from emu_core.drives.objects.meshes import quad
from emu_core.drives.objects.scenery import SIGNS, SPECIES, Scenery, furnish, traffic_light, tree

_FAR = 110.0
"""Extent of the ground to each side, metres."""

_UNDERGROUND = -0.04
"""Height of the ground below all other surfaces, metres."""

_ROAD_TILE = 24.0
"""Length of the road texture, metres."""

_PAVERS = (2.4, 2.4)
"""Size of a sidewalk texture tile, metres."""

_TRACK = 0.72
"""Half the track gauge of the tram, metres."""

_ON_THE_ROAD = 0.012
"""Height of painted stripes above the road, metres; it avoids z-fighting."""


def build_street(rng: Rng, layout: Layout, path: CentreLine, start: float, end: float) -> Scenery:
    """Build everything static between `start` and `end` (m along the road)."""
    street = Scenery(rng, path, layout, start, end)
    _paint(street)
    _road(street)
    _underground(street)
    for side in (0, 1):
        for s0, s1 in street.gaps():
            _walkway(street, side, s0, s1)
            line_with_plots(street, side, s0, s1)
            furnish(street, side, s0, s1)
        for s0, s1 in layout.junctions:
            _side_street(street, side, s0, s1)
    for s0, s1 in layout.junctions:
        _crossing(street, s0, s1)
    _close_view(street)
    return street


def _paint(street: Scenery) -> None:
    """Paint the textures of ground, walls, houses, plants and signs."""
    rng, images = street.rng, street.textures
    images["pavers"] = textures.pavers(rng)
    images["ground"] = textures.ground(rng)
    images["concrete"] = textures.concrete(rng)
    images["bark"] = textures.bark(rng)
    images["tiles"] = textures.tiles(rng)
    images["asphalt"] = textures.asphalt(rng)
    images["zebra"] = textures.zebra(rng)
    images["wall0"] = textures.masonry(rng, 6)
    images["wall1"] = textures.concrete(rng)
    images["wall2"] = textures.masonry(rng, 12)
    for i in range(SPECIES):
        images[f"leaves{i}"] = textures.foliage(rng)
        images[f"fence{i}"] = textures.boards(rng)
    for i in range(FACADES):
        images[f"facade{i}"] = textures.facade(rng)
        images[f"shop{i % SHOPS}"] = textures.shopfront(rng)
    for shape in SIGNS:
        images[f"sign_{shape}"] = textures.sign(rng, shape)
    images["plain"] = textures.plain()


def _road(street: Scenery) -> None:
    """Add the road with its lane marks and rails."""
    layout = street.layout
    left, right = layout.edge(0), layout.edge(1)
    width = left + right
    lines = [(left, "solid" if layout.lanes == 2 or street.rng.random() < 0.3 else "dashed")]
    for lane in range(1, layout.lanes):
        lines += [(left + side * lane * layout.lane, "dashed") for side in (-1, 1)]
    for side, sign in ((0, -1), (1, 1)):
        if layout.parking[side]:
            lines.append((left + sign * layout.lanes * layout.lane, "solid"))
    if layout.tram:
        centre = left - 0.5 * layout.lane
        lines += [(centre + rail, "rail") for rail in (-_TRACK, _TRACK)]
    street.textures["road"] = textures.road(street.rng, width, lines, _ROAD_TILE)
    street.ribbon(
        (street.start, street.end), (left, -right), (0, 0), "road", "road", (width, _ROAD_TILE)
    )


def _underground(street: Scenery) -> None:
    """Add ground below all surfaces: otherwise the sky would be visible through their seams."""
    along, level = (street.start, street.end), (_UNDERGROUND, _UNDERGROUND)
    left, right = street.layout.front(0), -street.layout.front(1)
    street.ribbon(along, (_FAR, left), level, "ground", "terrain")
    street.ribbon(along, (left, right), level, "asphalt", "road", (6, 6))
    street.ribbon(along, (right, -_FAR), level, "ground", "terrain")


def _walkway(street: Scenery, side: int, s0: float, s1: float) -> None:
    """Add kerb, verge, sidewalk and the ground behind it."""
    layout, sign, along, level = street.layout, sign_of(side), (s0, s1), (CURB, CURB)
    edge, front = layout.edge(side) * sign, layout.front(side) * sign
    kerb = edge + 0.15 * sign
    street.ribbon(along, (edge, edge), (0, CURB), "concrete", "sidewalk")
    street.ribbon(along, (edge, kerb), level, "concrete", "sidewalk")
    inner = kerb
    if layout.verge[side]:
        inner = edge + layout.verge[side] * sign
        street.ribbon(along, (kerb, inner), level, "ground", "terrain")
    street.ribbon(along, (inner, front), level, "pavers", "sidewalk", _PAVERS)
    ground = (CURB - 0.02, CURB - 0.02)
    street.ribbon(along, (front, _FAR * sign), ground, "ground", "terrain")
    for s in along:  # the kerb towards the side streets
        foot = street.path.world(s, np.array([edge, _FAR * sign]), 0.0)
        face = np.array([foot[0], foot[1], foot[1] + (0, 0, CURB), foot[0] + (0, 0, CURB)])
        street.add(quad(face, (30, 0.1), two_sided=True), "concrete", "sidewalk")


def _side_street(street: Scenery, side: int, s0: float, s1: float) -> None:
    """Add a side street, its sidewalks, and a house at its end."""
    sign, layout, rng = sign_of(side), street.layout, street.rng
    edge, front = layout.edge(side) * sign, layout.front(side) * sign
    street.ribbon((s0, s1), (edge, _FAR * sign), (0, 0), "asphalt", "road", (6, 6))
    for along in ((s0 - 2, s0), (s1, s1 + 2)):
        street.ribbon(along, (front, 70 * sign), (CURB, CURB), "pavers", "sidewalk", _PAVERS)
    far = rng.uniform(50, 85)
    closing = Plot(side, s0 - 14, s1 + 14, far)
    building(street, closing, 12, rng.uniform(7, 18), gable=bool(rng.random() < 0.5))


def _crossing(street: Scenery, s0: float, s1: float) -> None:
    """Add zebra crossings and traffic lights at a junction."""
    rng, layout = street.rng, street.layout
    left, right = layout.edge(0), layout.edge(1)
    for s in (s0 - 4.5, s1 + 1.5):
        if rng.random() < 0.75:
            across, height = (left, -right), (_ON_THE_ROAD, _ON_THE_ROAD)
            street.ribbon((s, s + 3), across, height, "zebra", "road", (10.0, 3.0))
    if rng.random() < 0.8:
        outer_left, outer_right = left + 0.5, -right - 0.5
        traffic_light(street, s0 - 1.2, outer_right, -1)
        traffic_light(street, s1 + 1.0, outer_left, 1)
        traffic_light(street, s1 + 0.8, outer_right, -1)
        traffic_light(street, s0 - 1.0, outer_left, -1)


def _close_view(street: Scenery) -> None:
    """Add houses and trees across the end of the street."""
    s, rng = street.end - 8, street.rng
    for d in np.arange(-70, 70, 18):
        low = street.path.world(s, np.array([d + 18, d]))
        height = rng.uniform(9, 20)
        face = np.array([low[0], low[1], low[1] + (0, 0, height), low[0] + (0, 0, height)])
        street.add(quad(face, (1.5, height / 12)), f"facade{rng.integers(FACADES)}", "building")
    for d in rng.uniform(-50, 50, 8):
        tree(street, s - 6, d)
