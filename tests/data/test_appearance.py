"""Effects on one image: each follows its law, and occurs as often as its share says."""

from dataclasses import fields, replace

import numpy as np
import pytest

from emu_core.data.appearance import effects
from emu_core.data.appearance.effects import Appearance, degrade, fog
from emu_core.data.augment import Augmentation, prepare
from emu_core.data.sample import Sample

PHOTO = np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8)
SENSOR = ("exposure", "blur", "noise", "compression", "night", "texture")
GREY: np.ndarray = np.full((200, 200, 3), 128, np.uint8)


def random(seed):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", SENSOR)
def test_an_effect_changes_a_copy_in_the_same_format(name):
    before = PHOTO.copy()
    changed = [getattr(effects, name)(PHOTO, random(seed)) for seed in range(10)]
    assert {(image.dtype.name, image.shape) for image in changed} == {("uint8", PHOTO.shape)}
    assert len({image.tobytes() for image in changed}) > 5
    np.testing.assert_array_equal(PHOTO, before)


def test_without_shares_nothing_is_drawn_and_nothing_changes():
    rng = random(0)
    assert degrade(PHOTO, Appearance(), rng) is PHOTO
    assert rng.random() == random(0).random()


@pytest.mark.parametrize("name", SENSOR)
def test_an_effect_occurs_as_often_as_its_share(name):
    look = Appearance(**{name: 0.3})
    count = sum(degrade(PHOTO, look, random(seed)) is not PHOTO for seed in range(400))
    assert count / 400 == pytest.approx(0.3, abs=0.08)


def test_exposure_is_a_power_law():
    rng = random(3)
    gamma, gain = np.exp(rng.uniform(-0.5, 0.5)), np.exp(rng.uniform(np.log(0.6), np.log(1.6)))
    expected = np.clip(255 * gain * (PHOTO / 255.0) ** gamma, 0, 255)
    np.testing.assert_allclose(effects.exposure(PHOTO, random(3)), expected, atol=0.51)


def test_blur_keeps_the_light_of_a_point_and_spreads_it_over_a_line_or_a_disc():
    point: np.ndarray = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 250
    widths = set()
    for seed in range(40):
        spread = effects.blur(point, random(seed))[..., 0].astype(float)
        lit = np.argwhere(spread > 2) - 20
        assert spread.sum() == pytest.approx(250, rel=0.15)  # each pixel is rounded
        moments = np.linalg.eigvalsh(np.cov(lit.T) if len(lit) > 1 else np.zeros((2, 2)))
        widths.add("line" if moments[1] > 8 * max(moments[0], 0.1) else "disc")
        assert np.abs(lit).max(initial=0) <= 5
    assert widths == {"line", "disc"}


def test_noise_has_the_drawn_deviation():
    for seed in range(5):
        rng = random(seed)
        shot, read = rng.uniform(0, 0.05), rng.uniform(0, 0.03)
        changed = effects.noise(GREY, random(seed)).astype(float)
        expected = 255 * np.sqrt(shot**2 * 128 / 255 + read**2)
        assert changed.std() == pytest.approx(np.hypot(expected, 12**-0.5), rel=0.03)
        assert changed.mean() == pytest.approx(128, abs=0.2)


def test_compression_hardly_changes_a_smooth_image_and_keeps_the_order_of_colours():
    ramp = np.broadcast_to(np.arange(64, 192, dtype=np.uint8)[None, :, None], (64, 128, 3)).copy()
    ramp[..., 2] = 30
    for seed in range(5):
        changed = effects.compression(ramp, random(seed))
        assert np.abs(changed.astype(int) - ramp).mean() < 6


def test_night_leaves_little_light_and_shifts_it_to_blue():
    for seed in range(10):
        light = (effects.night(GREY, random(seed)) / 255.0) ** 2.2 / (128 / 255) ** 2.2
        red, green, blue = light.mean((0, 1))
        assert 0.02 < light.mean() < 0.3
        assert red < green < blue


def test_a_texture_adds_at_most_half_of_the_light_and_varies_in_space():
    ways, strengths = set(), []
    for seed in range(40):
        change = effects.texture(GREY, random(seed)).astype(float) - 128
        share = np.abs(change).max() / 128
        assert share <= 0.5 + 1 / 128
        assert change.std() > 0.3
        grey = np.ptp(change.reshape(-1, 3).mean(axis=0)) < 1e-9
        ways.add("multiplied" if grey else "mixed")
        strengths.append(share)
    assert ways == {"multiplied", "mixed"}
    assert max(strengths) > 0.3


def test_a_black_object_in_fog_has_a_contrast_of_2_percent_at_the_visibility():
    rng = random(7)
    visibility = float(np.exp(rng.uniform(np.log(30), np.log(400))))
    depth = np.array([[1e-6, visibility / 2, visibility, 1e6]])
    black: np.ndarray = np.zeros((1, 4, 3), np.uint8)
    light = (fog(black, depth, random(7)) / 255.0) ** 2.2
    contrast = 1 - light / light[:, 3:]
    np.testing.assert_allclose(contrast[0, 0], 1, atol=1e-3)
    np.testing.assert_allclose(contrast[0, 1], np.exp(-1.95), atol=0.02)  # half the distance
    np.testing.assert_allclose(contrast[0, 2], 0.02, atol=0.02)


def frame(**changes):
    near, far = np.full((32, 32), 5.0), np.full((32, 32), 60.0)
    depth = np.hstack([near, far]).astype(np.float32)
    labels: np.ndarray = np.zeros(depth.shape, np.uint8)
    image: np.ndarray = np.zeros((*depth.shape, 3), np.uint8)
    return replace(Sample("frame", image, labels, depth, (50.0, 50.0)), **changes)


@pytest.mark.parametrize(("canonical", "zoom"), [(25.0, 1.0), (25.0, 0.5)])
def test_fog_follows_metres_also_through_another_lens_and_zoom(canonical, zoom):
    def ratio(canonical, zoom):
        look = Appearance(fog=1.0)
        a = Augmentation(32, 64, canonical, np.inf, (zoom, zoom), appearance=look)
        image = prepare(frame(), a, random(1)).image / 255.0
        near, far = image[int(16 * zoom), [int(10 * zoom), int(54 * zoom)]] ** 2.2
        return near / far

    assert ratio(None, 1.0).max() < 0.5
    np.testing.assert_allclose(ratio(canonical, zoom), ratio(None, 1.0), atol=0.02)


def test_fog_needs_dense_depth():
    a = Augmentation(32, 64, None, np.inf, appearance=Appearance(fog=1.0))
    sparse = frame().depth.copy()
    sparse[::2], sparse[:, ::2] = np.nan, np.nan
    for sample in (frame(depth=sparse), frame(measured=False)):
        assert not prepare(sample, a, random(1)).image.any()
    assert prepare(frame(), a, random(1)).image.all()


def test_appearance_is_for_training_only():
    look = Appearance(**{each.name: 1.0 for each in fields(Appearance)})
    a = Augmentation(32, 64, appearance=look)
    np.testing.assert_array_equal(prepare(frame(), a).image, frame().image)
