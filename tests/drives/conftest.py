"""A straight street for closed forms, and small generated drives."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from emu_core.drives.conditions import Conditions, PinholeCamera, draw_conditions
from emu_core.drives.drive import Drive, DriveSpec, draw
from emu_core.drives.layout import CentreLine, Layout
from emu_core.drives.objects import textures
from emu_core.drives.objects.scenery import Scenery
from emu_core.drives.traffic import Ego


@pytest.fixture(scope="session")
def straight_path() -> CentreLine:
    """A level, straight road along the x axis of the world."""
    s = np.arange(-60, 300, 0.5)
    return CentreLine(s, np.zeros_like(s), s, np.zeros_like(s), np.zeros_like(s))


@pytest.fixture(scope="session")
def clear_day() -> Conditions:
    """A day without haze, noise, blur, vignette or colour cast."""
    day = draw_conditions(np.random.default_rng(0))
    day = replace(day, haze=0.0, shot_noise=0.0, read_noise=0.0, blur=0.01, vignette=0.0)
    day = replace(day, exposure=1.0, white_balance=(1.0, 1.0, 1.0))
    return replace(day, clouds=0.0, sun_warmth=0.0, sun=0.6, ambient=0.4)


@pytest.fixture
def stage(straight_path: CentreLine, clear_day: Conditions) -> Drive:
    """An empty drive to add objects to: no ground, no traffic, a fixed camera 1.5 m high."""
    layout = Layout("urban", 1, 3.5, (0.0, 0.0), (0.0, 0.0), (2.0, 2.0), (), False)
    scenery = Scenery(np.random.default_rng(0), straight_path, layout, -35, 250)
    camera = PinholeCamera(128, 64, focal=90.0, mount_height=1.5, pitch=0.0, roll=0.0, yaw=0.0)
    ego, images = Ego(0.0, 0.0, 1.0), {"plain": textures.plain()}
    return Drive(scenery, [], None, ego, camera, clear_day, images)


@pytest.fixture(scope="session")
def small_drive() -> Callable[..., Drive]:
    """Function that generates a drive of three frames of 256×128, each drive only once."""

    @cache
    def drawn(seed: int, condition: str = "day", intruder: str | None = None) -> Drive:
        return draw(DriveSpec("train", seed, 3, 0.5, condition, intruder, None, 256, 128))

    return drawn
