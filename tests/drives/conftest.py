"""A quiet, straight street for closed forms, small drawn drives, a renderer where there is one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from emu_core.drives.conditions import Camera, Conditions, draw_conditions
from emu_core.drives.drive import Drive, DriveSpec, draw
from emu_core.drives.layout import Layout, Path
from emu_core.drives.objects import textures
from emu_core.drives.objects.scenery import Scenery
from emu_core.drives.traffic import Ego


@pytest.fixture(scope="session")
def straight_path() -> Path:
    """A level, straight road along the world's x axis."""
    s = np.arange(-60, 300, 0.5)
    return Path(s, np.zeros_like(s), s, np.zeros_like(s), np.zeros_like(s))


@pytest.fixture(scope="session")
def clear_day() -> Conditions:
    """An ordinary day without haze, noise, blur, vignette or colour cast."""
    day = draw_conditions(np.random.default_rng(0))
    return replace(
        day, haze=0.0, exposure=1.0, balance=(1.0, 1.0, 1.0), shot_noise=0.0, read_noise=0.0,
        blur=0.01, vignette=0.0, clouds=0.0, warmth=0.0, sun=0.6, ambient=0.4,
    )  # fmt: skip


@pytest.fixture(scope="session")
def level_camera() -> Camera:
    """A small camera that looks along the road from 1.5 m."""
    return Camera(128, 64, focal=90.0, mount_height=1.5, pitch=0.0, roll=0.0, yaw=0.0)


@pytest.fixture
def stage(straight_path: Path, clear_day: Conditions, level_camera: Camera) -> Drive:
    """An empty drive to put things into: no ground, nobody, a camera that stands at the origin."""
    layout = Layout("urban", 1, 3.5, (0.0, 0.0), (0.0, 0.0), (2.0, 2.0), (), False)
    scenery = Scenery(np.random.default_rng(0), straight_path, layout, -35, 250)
    images = {"plain": textures.plain()}
    return Drive(scenery, [], None, Ego(0.0, 0.0, 1.0), level_camera, clear_day, images)


@cache
def _small(split: str, seed: int, condition: str, intruder: str | None) -> Drive:
    return draw(DriveSpec(split, seed, 3, 0.5, condition, intruder, None, 256, 128))


@pytest.fixture(scope="session")
def small_drive() -> Callable[..., Drive]:
    """Draws (seed, condition, intruder) as a drive of three frames of 256×128, each only once."""

    def drawn(seed: int, condition: str = "day", intruder: str | None = None) -> Drive:
        return _small("train", seed, condition, intruder)

    return drawn


@pytest.fixture
def open_scene(renderer: Callable[[Drive], Any]) -> Iterator[Callable[[Drive], Any]]:
    """Opens scenes of drives and closes them after the test."""
    with ExitStack() as stack:
        yield lambda drive: stack.enter_context(renderer(drive))
