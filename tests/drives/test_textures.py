import numpy as np
import pytest

from emu_core.drives.objects import intruders as strangers
from emu_core.drives.objects import textures, vehicles

PAINTERS = {
    "asphalt": textures.asphalt, "zebra": textures.zebra, "pavers": textures.pavers,
    "ground": textures.ground, "foliage": textures.foliage,
    "bark": textures.bark, "bricks": lambda rng: textures.masonry(rng, 32),
    "blocks": lambda rng: textures.masonry(rng, 6),
    "concrete": textures.concrete, "boards": textures.boards,
    "tiles": textures.tiles, "facade": textures.facade, "shopfront": textures.shopfront,
    "wheel": textures.wheel, "spokes": lambda rng: textures.wheel(rng, spokes=True),
    "round sign": lambda rng: textures.sign(rng, "round"),
    "square sign": lambda rng: textures.sign(rng, "square"),
    "triangle sign": lambda rng: textures.sign(rng, "triangle"), "cloth": textures.cloth,
    "cargo": vehicles.paint_cargo, "hide": strangers.paint_hide,
    "road": lambda rng: textures.road(rng, 8.0, [(4.0, "dashed"), (0.5, "rail")], 24.0),
}  # fmt: skip

REPEATED = ("asphalt", "pavers", "ground", "foliage", "bricks", "blocks", "concrete", "boards")
"""What a wall, a fence, a walkway or a meadow shows many times side by side."""


FEW_KINDS = ("wheel", "spokes", "triangle sign")


@pytest.mark.parametrize("name", PAINTERS)
def test_textures_are_rgb_pictures_that_depend_on_the_seed_only(name):
    first, again, other = (PAINTERS[name](np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.dtype == np.uint8
    assert first.ndim == 3 and first.shape[2] == 3
    np.testing.assert_array_equal(first, again)
    if name not in FEW_KINDS:
        assert not np.array_equal(first, other)


def seam_and_steps(image: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean change from the right edge to the left one, and from each column to the next."""
    columns = image.astype(float)
    steps = np.abs(np.diff(columns, axis=1)).mean(axis=(0, 2))
    return float(np.abs(columns[:, 0] - columns[:, -1]).mean()), steps


@pytest.mark.parametrize("name", REPEATED)
@pytest.mark.parametrize("seed", range(3))
def test_repeated_textures_have_no_seam_between_right_and_left(name, seed):
    seam, steps = seam_and_steps(PAINTERS[name](np.random.default_rng(seed)))
    assert seam <= 1.1 * steps.max()


@pytest.mark.parametrize("cells", [4, 6, 16, 64])
def test_noise_goes_on_across_all_edges_and_is_standardised(cells):
    noise = textures.noise(np.random.default_rng(0), 128, cells, 1)
    for axis in (0, 1):
        inner = np.abs(np.diff(noise, axis=axis)).mean()
        seam = np.abs(np.take(noise, 0, axis) - np.take(noise, -1, axis)).mean()
        assert seam < 1.6 * inner
    assert abs(noise.mean()) < 1e-5
    assert noise.std() == pytest.approx(1, abs=1e-4)


def test_a_picture_that_is_no_tile_has_a_seam():
    """The seam test can fail: a ramp is no tile."""
    ramp = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (8, 1, 3))
    seam, steps = seam_and_steps(ramp)
    assert seam > 1.1 * steps.max()


class NumPyWithPoisonedMemory:
    """NumPy, but memory that nobody has written holds NaN."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def empty(shape, dtype):
        return np.full(shape, np.nan, dtype)


@pytest.mark.parametrize("rows", [6, 12, 32])
def test_every_pixel_of_masonry_is_painted(monkeypatch, rows):
    """Rows that do not fill the tile once showed whatever the memory held."""
    clean = textures.masonry(np.random.default_rng(5), rows)
    monkeypatch.setattr(textures, "np", NumPyWithPoisonedMemory())
    again = textures.masonry(np.random.default_rng(5), rows)
    assert clean.shape == (256, 256, 3)
    np.testing.assert_array_equal(again, clean)


@pytest.mark.parametrize("rows", [6, 12, 32])
def test_masonry_has_a_joint_of_mortar_below_each_row(rows):
    dark_bricks = np.random.default_rng(1)
    brightness = textures.masonry(dark_bricks, rows).mean(axis=(1, 2))
    joints = brightness[np.round(np.arange(rows) * 256 / rows).astype(int)]
    assert joints.min() > np.median(brightness) + 20


def test_lane_marks_are_where_they_were_asked_for():
    image = textures.road(np.random.default_rng(3), 8.0, [(2.0, "solid"), (6.0, "dashed")], 24.0)
    brightness = image.mean(axis=2)
    size = image.shape[1]
    middle, quarter = brightness[:, size // 2].mean(), brightness[:, size // 4].mean()
    assert quarter > middle + 60
    dashes = brightness[:, size * 3 // 4] > middle + 50
    assert 0.3 < dashes.mean() < 0.5  # two dashes, a fifth of the tile each
    assert np.abs(np.diff(dashes[5:-5].astype(int))).sum() <= 12


def test_all_bodies_are_painted():
    assert set(vehicles.paint(np.random.default_rng(0))) == vehicles.SHINY
