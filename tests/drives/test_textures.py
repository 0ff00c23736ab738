import numpy as np
import pytest

from emu_core.drives.objects import intruders, textures, vehicles

REPEATED = {
    **{name: getattr(textures, name) for name in ("asphalt", "pavers", "ground", "foliage")},
    **{name: getattr(textures, name) for name in ("concrete", "boards")},
    "bricks": lambda rng: textures.masonry(rng, 32),
    "blocks": lambda rng: textures.masonry(rng, 6),
}
"""Painters of surfaces that show many tiles side by side."""

FEW_KINDS = {
    "wheel": textures.wheel,
    "spokes": lambda rng: textures.wheel(rng, spokes=True),
    "triangle sign": lambda rng: textures.sign(rng, "triangle"),
}
"""Painters that make only a few different images."""

PAINTERS = {
    **REPEATED,
    **FEW_KINDS,
    **{name: getattr(textures, name) for name in ("zebra", "bark", "tiles", "facade")},
    **{name: getattr(textures, name) for name in ("shopfront", "cloth")},
    "round sign": lambda rng: textures.sign(rng, "round"),
    "square sign": lambda rng: textures.sign(rng, "square"),
    "cargo": vehicles.paint_cargo,
    "hide": intruders.paint_hide,
    "road": lambda rng: textures.road(rng, 8.0, [(4.0, "dashed"), (0.5, "rail")], 24.0),
}


@pytest.mark.parametrize("name", PAINTERS)
def test_textures_are_rgb_images_that_depend_only_on_the_seed(name):
    first, again, other = (PAINTERS[name](np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.dtype == np.uint8
    assert first.ndim == 3 and first.shape[2] == 3
    np.testing.assert_array_equal(first, again)
    if name not in FEW_KINDS:
        assert not np.array_equal(first, other)


def seam_and_steps(image: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean change from the right edge to the left edge, and from each column to the next."""
    columns = image.astype(float)
    steps = np.abs(np.diff(columns, axis=1)).mean(axis=(0, 2))
    return float(np.abs(columns[:, 0] - columns[:, -1]).mean()), steps


@pytest.mark.parametrize("name", REPEATED)
@pytest.mark.parametrize("seed", range(3))
def test_repeated_textures_have_no_seam_between_right_and_left(name, seed):
    seam, steps = seam_and_steps(PAINTERS[name](np.random.default_rng(seed)))
    assert seam <= 1.1 * steps.max()


@pytest.mark.parametrize("cells", [4, 6, 16, 64])
def test_noise_has_no_seam_and_is_standardised(cells):
    noise = textures.noise(np.random.default_rng(0), 128, cells, 1)
    for axis in (0, 1):
        inner = np.abs(np.diff(noise, axis=axis)).mean()
        seam = np.abs(np.take(noise, 0, axis) - np.take(noise, -1, axis)).mean()
        assert seam < 1.6 * inner
    assert abs(noise.mean()) < 1e-5
    assert noise.std() == pytest.approx(1, abs=1e-4)


class NumPyWithPoisonedMemory:
    """NumPy whose new arrays hold NaN."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def empty(shape, dtype):
        return np.full(shape, np.nan, dtype)


@pytest.mark.parametrize("rows", [6, 12, 32])
def test_masonry_paints_every_pixel_and_a_joint_below_each_row(monkeypatch, rows):
    """Rows that do not fill the tile once showed uninitialised memory."""
    image = textures.masonry(np.random.default_rng(5), rows)
    monkeypatch.setattr(textures, "np", NumPyWithPoisonedMemory())
    np.testing.assert_array_equal(textures.masonry(np.random.default_rng(5), rows), image)
    assert image.shape == (256, 256, 3)
    brightness = textures.masonry(np.random.default_rng(1), rows).mean(axis=(1, 2))  # dark bricks
    joints = brightness[np.round(np.arange(rows) * 256 / rows).astype(int)]
    assert joints.min() > np.median(brightness) + 20


def test_lane_marks_are_at_the_given_offsets():
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
