from functools import partial

import numpy as np
import pytest

from emu_core.drives.objects import intruders, textures, vehicles


def by_name(*names):
    return {name: getattr(textures, name) for name in names}


REPEATED = {
    **by_name("asphalt", "pavers", "ground", "foliage", "concrete", "boards"),
    "bricks": partial(textures.masonry, rows=32),
    "blocks": partial(textures.masonry, rows=6),
}
"""Painters of surfaces that show many tiles side by side."""

FEW_KINDS = {
    "wheel": textures.wheel,
    "spokes": partial(textures.wheel, spokes=True),
    "triangle sign": partial(textures.sign, shape="triangle"),
}
"""Painters that make only a few different images."""

PAINTERS = {
    **REPEATED,
    **FEW_KINDS,
    **by_name("zebra", "bark", "tiles", "facade", "shopfront", "cloth"),
    "round sign": partial(textures.sign, shape="round"),
    "square sign": partial(textures.sign, shape="square"),
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


@pytest.mark.parametrize("name", REPEATED)
@pytest.mark.parametrize("seed", range(3))
def test_repeated_textures_have_no_seam_between_right_and_left(name, seed):
    image = PAINTERS[name](np.random.default_rng(seed)).astype(float)
    steps = np.abs(np.diff(image, axis=1)).mean(axis=(0, 2))
    assert np.abs(image[:, 0] - image[:, -1]).mean() <= 1.1 * steps.max()


@pytest.mark.parametrize("cells", [4, 6, 16, 64])
def test_noise_has_no_seam_and_is_standardised(cells):
    noise = textures.noise(np.random.default_rng(0), 128, cells, 1)
    for axis in (0, 1):
        inner = np.abs(np.diff(noise, axis=axis)).mean()
        seam = np.abs(np.take(noise, 0, axis) - np.take(noise, -1, axis)).mean()
        assert seam < 1.6 * inner
    assert abs(noise.mean()) < 1e-5
    assert noise.std() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("rows", [6, 12, 32])
def test_masonry_paints_every_pixel_and_a_joint_below_each_row(monkeypatch, rows):
    """Rows that do not fill the tile once showed uninitialised memory."""
    image = textures.masonry(np.random.default_rng(5), rows)
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float, **_: np.full(shape, 99, dtype))
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
