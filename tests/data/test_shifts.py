"""Shifts: what each family changes, by hand, and how data sets apply them."""

from dataclasses import replace

import numpy as np
import pytest

from emu_core.data.appearance.effects import SRGB_GAMMA, night
from emu_core.data.appearance.shifts import HELD_OUT, NOT_TRAINED, SHIFTS, apply_shift
from emu_core.data.config import Data, Source
from emu_core.data.datasets import open_dataset
from emu_core.data.decoded import cached
from emu_core.data.sample import DataError, Sample
from emu_core.registry import RegistryError

GREY = np.full((96, 192, 3), 100, np.uint8)


def sample(image=GREY, name="frame", depth=10.0):
    truth = np.full(image.shape[:2], depth, np.float32)
    return Sample(name, image, np.zeros(image.shape[:2], np.uint8), truth, (100.0, 100.0))


def light(image):
    return (image.astype(float) / 255) ** SRGB_GAMMA


@pytest.mark.parametrize("name", list(SHIFTS))
def test_a_frame_always_gets_the_same_change_and_keeps_its_truth(name):
    colors = np.random.default_rng(0).integers(0, 256, GREY.shape, np.uint8)
    before = sample(colors.copy())
    after, again = apply_shift(name, before), apply_shift(name, before)
    np.testing.assert_array_equal(after.image, again.image)
    assert (after.image.shape, after.image.dtype) == (GREY.shape, np.uint8)
    assert not np.array_equal(after.image, colors)
    np.testing.assert_array_equal(before.image, colors)
    assert after.labels is before.labels and after.depth is before.depth
    other = apply_shift(name, sample(colors, "another"))
    assert not np.array_equal(after.image, other.image)


def test_held_out_families_are_no_effects_of_a_training():
    assert {*HELD_OUT, *NOT_TRAINED} <= set(SHIFTS)
    trained = {"fog", "night", "texture", "exposure", "blur", "noise", "compression"}
    assert not {*HELD_OUT, *NOT_TRAINED} & trained and not set(HELD_OUT) & set(NOT_TRAINED)


def test_rain_is_bright_and_longer_along_its_fall():
    image = apply_shift("rain", sample()).image[..., 0].astype(float)
    streaks = image > 110
    assert 0.02 < streaks.mean() < 0.6
    assert image.min() >= 99  # on a grey image less contrast changes nothing
    down = np.corrcoef(image[:-1].ravel(), image[1:].ravel())[0, 1]
    across = np.corrcoef(image[:, :-1].ravel(), image[:, 1:].ravel())[0, 1]
    assert down > across + 0.2


def test_dirt_hides_five_to_twenty_percent():
    for number in range(8):
        image = apply_shift("dirt", sample(np.full_like(GREY, 200), f"{number}")).image
        hidden = light(image)[..., 0] < 0.5 * (light(np.uint8(200)) + 0.1)
        assert 0.03 < hidden.mean() < 0.24
        assert (image[hidden][:, 0] > image[hidden][:, 2]).all()  # brown


def test_glare_is_light_that_falls_with_the_distance_from_a_point_in_the_upper_half():
    for number in range(8):
        dark = sample(np.zeros((96, 192, 3), np.uint8), f"{number}")
        added = light(apply_shift("glare", dark).image)[..., 0]
        row, column = np.argwhere(added >= added.max()).mean(axis=0)
        assert row < 56 and 15 < column < 177
        y, x = np.mgrid[:96, :192]
        distance = np.hypot(y - row, x - column)
        rings = [added[(distance >= r) & (distance < r + 6)].mean() for r in range(0, 72, 6)]
        assert (np.diff(rings) <= 0).all()
        # Far from the sun, the wide part alone is left: it falls by e every half height.
        far = [added[(distance >= r - 1) & (distance < r + 1)].mean() for r in (50, 74)]
        assert far[0] / far[1] == pytest.approx(np.exp(24 / 48), rel=0.08)


def test_snow_is_round_and_bright():
    image = apply_shift("snow", sample()).image[..., 0].astype(float)
    assert image.min() >= 99 and 0.02 < (image > image.min() + 20).mean() < 0.7
    flakes = image - image.mean()
    down, across = ((flakes * np.roll(flakes, 1, axis)).mean() for axis in (0, 1))
    assert down == pytest.approx(across, rel=0.1)


def test_zoom_blurs_away_from_the_centre():
    y, x = np.mgrid[:96, :192]
    checks = np.repeat((255 * ((x // 4 + y // 4) % 2))[..., None], 3, axis=2).astype(np.uint8)
    image = apply_shift("zoom", sample(checks)).image.astype(float)
    changed = np.abs(image - checks)[..., 0]
    assert changed[46:50, 94:98].mean() < 0.5 * changed[:, :16].mean()
    np.testing.assert_array_equal(apply_shift("zoom", sample()).image, GREY)


def test_pixelation_leaves_the_mean_of_squares():
    ramp = np.repeat(np.linspace(0, 255, 192)[None, :, None], 96, axis=0).repeat(3, axis=2)
    image = apply_shift("pixelation", sample(ramp.astype(np.uint8), "big")).image
    steps = np.unique(image[0, :, 0]).size
    assert 192 * 60 / 96 <= steps <= 192 * 160 / 96
    assert image.mean() == pytest.approx(ramp.astype(np.uint8).mean(), abs=1)


def test_fog_needs_dense_depth():
    with pytest.raises(DataError, match=r"at least 50% .* frame has that of 0%.* another shift"):
        apply_shift("fog", sample(depth=np.nan))


def test_shifts_of_training_are_the_effects_of_training():
    seed = np.random.default_rng(3)
    same = np.random.default_rng(3)
    np.testing.assert_array_equal(SHIFTS["night"](sample(), seed), night(GREY, same))


@pytest.fixture
def drives(tmp_path, write_drive):
    for split in ("train", "val", "test"):
        for frame in range(2):
            write_drive(tmp_path / "drives", split, f"{split}1_000000_00000{frame}", seed=frame)
    return tmp_path / "drives"


def test_a_split_is_opened_with_a_shift(drives, tmp_path):
    plain, rainy = (open_dataset("drives", drives, split) for split in ("test", "test+rain"))
    assert (rainy.split, rainy.split_title, plain.split_title) == ("test", "test+rain", "test")
    for before, after in zip(plain, rainy, strict=True):
        np.testing.assert_array_equal(after.image, apply_shift("rain", before).image)
        np.testing.assert_array_equal(after.labels, before.labels)
    stored = cached(rainy, tmp_path / "cache")  # which holds unchanged frames
    np.testing.assert_array_equal(stored[0].image, rainy[0].image)
    np.testing.assert_array_equal(cached(plain, tmp_path / "cache")[0].image, plain[0].image)
    np.testing.assert_array_equal(rainy.select([1])[0].image, rainy[1].image)
    with pytest.raises(RegistryError, match=r"Expected a shift of rain, dirt, .*but got 'hail'"):
        open_dataset("drives", drives, "test+hail")


def test_scores_have_a_column_for_each_shift(drives):
    found = Data("drives", drives).open_scored(["test", "test+rain", "val+dirt"])
    assert list(found) == ["test", "test+rain", "val+dirt"]
    assert [part.shift for part in found.values()] == [None, "rain", "dirt"]


def test_a_part_of_a_mixture_can_be_shifted_and_without_truth(drives):
    plain = Source("drives", drives)
    data = Data(mixture=(plain, replace(plain, shift="dirt", unlabelled=True)))
    mixture = data.open_training(unlabelled=True)
    assert len(mixture) == 4 and len(data.open_training()) == 2
    before, after = mixture[0], mixture[2]
    np.testing.assert_array_equal(after.image, apply_shift("dirt", before).image)
    assert before.labelled and not after.labelled and not after.measured
    assert [part.shift for part in data.open_validation()] == [None]
    with pytest.raises(RegistryError, match="but got 'hail'"):
        replace(plain, shift="hail")
