"""Build a street without traffic: roads, sidewalks and ground, and the objects on them."""

from __future__ import annotations

import numpy as np

from emu_core.drives.layout import CURB, CentreLine, Layout, Rng, sign_of
from emu_core.drives.objects import textures
from emu_core.drives.objects.buildings import FACADES, SHOPS, Plot, building, line_with_plots
from emu_core.drives.objects.meshes import upright
from emu_core.drives.objects.scenery import SIGNS, SPECIES, Scenery, furnish, traffic_light, tree

_FAR = 110.0  # extent of the ground to each side, metres
_UNDERGROUND = -0.04  # height of the ground below all other surfaces, metres
_ROAD_TILE = 24.0  # length of the road texture, metres
_PAVERS = (2.4, 2.4)  # size of a sidewalk texture tile, metres
_TRACK = 0.72  # half the track gauge of the tram, metres
_ON_THE_ROAD = 0.012  # height of painted stripes above the road, metres; it avoids z-fighting


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
    rng, images = street.rng, street.textures
    for name in ("pavers", "ground", "concrete", "bark", "tiles", "asphalt", "zebra"):
        images[name] = getattr(textures, name)(rng)
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
    layout, left, right = street.layout, street.layout.edge(0), street.layout.edge(1)
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
    along, tile = (street.start, street.end), (width, _ROAD_TILE)
    street.ribbon(along, (left, -right), 0, "road", "road", tile)


def _underground(street: Scenery) -> None:
    """Add ground below all surfaces: otherwise the sky would be visible through their seams."""
    along, left, right = (street.start, street.end), *map(street.layout.front, (0, 1))
    street.ribbon(along, (_FAR, left), _UNDERGROUND, "ground", "terrain")
    street.ribbon(along, (left, -right), _UNDERGROUND, "asphalt", "road", (6, 6))
    street.ribbon(along, (-right, -_FAR), _UNDERGROUND, "ground", "terrain")


def _walkway(street: Scenery, side: int, s0: float, s1: float) -> None:
    """Add kerb, verge, sidewalk and the ground behind it."""
    layout, sign, along = street.layout, sign_of(side), (s0, s1)
    edge, front = layout.edge(side) * sign, layout.front(side) * sign
    kerb = edge + 0.15 * sign
    street.ribbon(along, (edge, edge), (0, CURB), "concrete", "sidewalk")
    street.ribbon(along, (edge, kerb), CURB, "concrete", "sidewalk")
    inner = kerb
    if layout.verge[side]:
        inner = edge + layout.verge[side] * sign
        street.ribbon(along, (kerb, inner), CURB, "ground", "terrain")
    street.ribbon(along, (inner, front), CURB, "pavers", "sidewalk", _PAVERS)
    street.ribbon(along, (front, _FAR * sign), CURB - 0.02, "ground", "terrain")
    for s in along:  # the kerb towards the side streets
        base = street.path.world(s, np.array([edge, _FAR * sign]), 0.0)
        face = upright(base, (0, CURB), (30, 0.1), two_sided=True)
        street.add(face, "concrete", "sidewalk")


def _side_street(street: Scenery, side: int, s0: float, s1: float) -> None:
    """Add a side street, its sidewalks, and a house at its end."""
    sign, layout, rng = sign_of(side), street.layout, street.rng
    edge, front = layout.edge(side) * sign, layout.front(side) * sign
    street.ribbon((s0, s1), (edge, _FAR * sign), 0, "asphalt", "road", (6, 6))
    for along in ((s0 - 2, s0), (s1, s1 + 2)):
        street.ribbon(along, (front, 70 * sign), CURB, "pavers", "sidewalk", _PAVERS)
    closing = Plot(side, s0 - 14, s1 + 14, rng.uniform(50, 85))
    building(street, closing, 12, rng.uniform(7, 18), gable=bool(rng.random() < 0.5))


def _crossing(street: Scenery, s0: float, s1: float) -> None:
    rng, left, right = street.rng, street.layout.edge(0), street.layout.edge(1)
    for s in (s0 - 4.5, s1 + 1.5):
        if rng.random() < 0.75:
            across, tile = (left, -right), (10.0, 3.0)
            street.ribbon((s, s + 3), across, _ON_THE_ROAD, "zebra", "road", tile)
    if rng.random() < 0.8:
        traffic_light(street, s0 - 1.2, -right - 0.5, -1)
        traffic_light(street, s1 + 1.0, left + 0.5, 1)
        traffic_light(street, s1 + 0.8, -right - 0.5, -1)
        traffic_light(street, s0 - 1.0, left + 0.5, -1)


def _close_view(street: Scenery) -> None:
    """Add houses and trees across the end of the street."""
    s, rng = street.end - 8, street.rng
    for d in np.arange(-70, 70, 18):
        height = rng.uniform(9, 20)
        base = street.path.world(s, np.array([d + 18, d]))
        face = upright(base, (0, height), (1.5, height / 12))
        street.add(face, f"facade{rng.integers(FACADES)}", "building")
    for d in rng.uniform(-50, 50, 8):
        tree(street, s - 6, d)
