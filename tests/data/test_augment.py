"""Joint augmentation: pixels of image, labels and depth stay together, and depth stays metric."""

import colorsys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu_core.data.augment import Augmentation, color_jitter, prepare
from emu_core.data.sample import Sample
from emu_core.labels import IGNORE


def coordinates(height, width, focal=(100.0, 100.0)):
    """A sample each of whose pixels tells where it is: in colour, label and depth."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([columns, rows, np.full_like(rows, 200)], -1).astype(np.uint8)
    labels = ((3 * rows + columns) % 19).astype(np.uint8)
    depth = (1 + rows * width + columns).astype(np.float32)
    return Sample("coordinates", image, labels, depth, focal)


def source_pixels(depth, factor, width):
    """Rows and columns of the source that prepared depths came from; exact, or it fails."""
    metric = depth.astype(np.float64) * factor
    code = np.rint(metric)
    np.testing.assert_allclose(metric, code, atol=0.02)
    return np.divmod(code.astype(int) - 1, width)


def test_a_sample_of_the_right_size_stays_as_it_is():
    sample = coordinates(32, 64)
    ready = prepare(sample, Augmentation(32, 64, depth_limit=np.inf))
    np.testing.assert_array_equal(ready.image, sample.image)
    np.testing.assert_array_equal(ready.labels, sample.labels)
    np.testing.assert_array_equal(ready.depth, sample.depth)
    assert ready.depth_factor == 1.0


def test_an_augmentation_of_no_strength_changes_nothing():
    sample = coordinates(32, 64)
    ready = prepare(sample, Augmentation(32, 64, depth_limit=np.inf), np.random.default_rng(0))
    np.testing.assert_array_equal(ready.image, sample.image)
    np.testing.assert_array_equal(ready.labels, sample.labels)
    np.testing.assert_array_equal(ready.depth, sample.depth)


def scene(width, focal, distance, size=4.0):
    """A square object of `size` metres at a distance, as a pinhole camera sees it."""
    pixels = round(focal * size / distance)
    labels = np.zeros((width // 2, width), np.uint8)
    top, left = width // 4 - pixels // 2, width // 2 - pixels // 2
    labels[top : top + pixels, left : left + pixels] = 13
    depth = np.where(labels == 13, distance, 70.0).astype(np.float32)
    return Sample("scene", np.zeros((*labels.shape, 3), np.uint8), labels, depth, (focal, focal))


@pytest.mark.parametrize(
    ("width", "focal", "distance"),
    [(128, 100.0, 20.0), (256, 400.0, 20.0), (256, 300.0, 15.0), (512, 640.0, 40.0)],
)
def test_an_objects_canonical_depth_follows_from_its_size_in_pixels_alone(width, focal, distance):
    ready = prepare(scene(width, focal, distance), Augmentation(64, 128, canonical_focal=150.0))
    mask = ready.labels == 13
    pixels = np.sqrt(mask.sum())
    # In the canonical camera an object of 4 m covers p = f_c · 4 m / D pixels.
    np.testing.assert_allclose(ready.depth[mask], 150.0 * 4.0 / pixels, rtol=1e-6)
    np.testing.assert_allclose(ready.depth[mask] * ready.depth_factor, distance, rtol=1e-6)


def test_the_same_pixels_seen_by_two_lenses_get_the_same_canonical_depth():
    short, long = scene(128, 100.0, 20.0), scene(128, 150.0, 30.0)
    np.testing.assert_array_equal(short.labels, long.labels)
    a, b = (prepare(s, Augmentation(64, 128, canonical_focal=120.0)) for s in (short, long))
    mask = a.labels == 13
    np.testing.assert_allclose(a.depth[mask], b.depth[mask], rtol=1e-6)
    assert (a.depth_factor, b.depth_factor) == pytest.approx((100 / 120, 150 / 120))


def test_unequal_focal_lengths_count_as_their_geometric_mean():
    sample = coordinates(32, 64, focal=(80.0, 180.0))
    ready = prepare(sample, Augmentation(32, 64, canonical_focal=60.0))
    assert ready.depth_factor == pytest.approx(120 / 60)


def test_an_object_scaled_at_random_keeps_its_size_in_the_canonical_camera():
    sample = scene(256, 300.0, 30.0)
    augmentation = Augmentation(64, 128, canonical_focal=100.0, scale=(0.5, 2.0))
    sizes = set()
    for seed in range(20):
        ready = prepare(sample, augmentation, np.random.default_rng(seed))
        mask = ready.labels == 13
        rows, columns = mask.sum(0).max(), mask.sum(1).max()
        if not mask.any() or min(rows, columns) < max(rows, columns) - 1:
            continue  # cut by the crop's border
        np.testing.assert_allclose(ready.depth[mask] * columns / 100.0, 4.0, rtol=0.1)
        sizes.add(columns)
    assert len(sizes) > 5


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    source=st.sampled_from([(24, 48), (32, 64), (40, 60), (48, 96), (30, 90)]),
    focal=st.tuples(st.floats(20, 500), st.floats(20, 500)),
    size=st.sampled_from([(24, 48), (16, 48), (32, 64), (20, 30), (40, 90)]),
    canonical=st.none() | st.floats(20, 500),
    scale=st.sampled_from([(1.0, 1.0), (0.5, 2.0), (0.9, 1.6), (1.3, 1.3)]),
    flip=st.booleans(),
    rescale=st.booleans(),
)
def test_pixels_stay_together_and_depth_stays_metric(
    seed, source, focal, size, canonical, scale, flip, rescale
):
    sample = coordinates(*source, focal)
    augmentation = Augmentation(*size, canonical, np.inf, scale, flip, rescale_depth=rescale)
    ready = prepare(sample, augmentation, np.random.default_rng(seed))
    assert ready.image.shape == (*size, 3)
    assert ready.labels.shape == ready.depth.shape == size
    assert ready.image.dtype == ready.labels.dtype == np.uint8
    assert ready.depth.dtype == np.float32
    inside = np.isfinite(ready.depth)
    assert inside.any()
    rows, columns = source_pixels(ready.depth[inside], ready.depth_factor, source[1])
    np.testing.assert_array_equal(ready.labels[inside], sample.labels[rows, columns])
    # The image is interpolated, the others take a neighbour: at most one pixel of the coarser.
    apart = 1 + max(1.0, source[1] / size[1] / scale[0])
    assert np.abs(ready.image[inside][:, 0].astype(int) - columns).max() <= apart
    assert np.abs(ready.image[inside][:, 1].astype(int) - rows).max() <= apart
    assert (ready.labels[~inside] == IGNORE).all()
    assert not ready.image[~inside].any()


def test_cropping_and_flipping_move_all_three_exactly_alike():
    sample = coordinates(60, 64)
    augmentation = Augmentation(20, 64, depth_limit=np.inf, flip=True)
    seen = set()
    for seed in range(30):
        ready = prepare(sample, augmentation, np.random.default_rng(seed))
        rows, columns = source_pixels(ready.depth, ready.depth_factor, 64)
        np.testing.assert_array_equal(ready.image[..., 0], columns)
        np.testing.assert_array_equal(ready.image[..., 1], rows)
        np.testing.assert_array_equal(ready.labels, sample.labels[rows, columns])
        seen.add((int(rows[0, 0]), bool(columns[0, 0] > columns[0, 1])))
    assert {flipped for _, flipped in seen} == {False, True}
    assert len({top for top, _ in seen}) > 10
    assert all(0 <= top <= 40 for top, _ in seen)


@pytest.mark.parametrize("width", [40, 56, 72, 100, 128])
def test_truth_stays_under_its_pixels_when_it_is_resized(width):
    columns = np.arange(80, dtype=np.float32)
    depth = np.broadcast_to(1 + columns, (40, 80)).copy()
    labels = (depth // 8).astype(np.uint8)
    sample = Sample("ramp", np.zeros((40, 80, 3), np.uint8), labels, depth, (100.0, 100.0))
    ready = prepare(sample, Augmentation(width // 2, width, depth_limit=np.inf))
    centres = (np.arange(width) + 0.5) * 80 / width - 0.5
    assert np.abs(ready.depth - 1 - centres).max() <= 0.5 + 1e-5
    if width != 40:  # the centre of an even number of pixels is none of them
        assert np.mean(ready.depth - 1 - centres) == pytest.approx(0, abs=0.1)
    np.testing.assert_array_equal(ready.labels, ready.depth // 8)


def test_without_a_generator_the_crop_is_the_middle_and_nothing_is_flipped_or_scaled():
    sample = coordinates(60, 64)
    augmentation = Augmentation(
        20, 64, depth_limit=np.inf, scale=(1.5, 2.0), flip=True, jitter=(0.5, 0.5, 0.5, 0.5)
    )
    ready = prepare(sample, augmentation)
    np.testing.assert_array_equal(ready.image, sample.image[20:40])
    np.testing.assert_array_equal(ready.depth, sample.depth[20:40])


def test_class_crops_show_a_rare_class_half_of_the_time_where_there_are_two():
    sample = coordinates(64, 128)
    labels = np.zeros((64, 128), np.uint8)
    labels[40, 90] = 7
    sample = replace(sample, labels=labels)

    def share(class_crops):
        a = Augmentation(16, 32, depth_limit=np.inf, scale=(4.0, 4.0), class_crops=class_crops)
        crops = [prepare(sample, a, np.random.default_rng(seed)) for seed in range(300)]
        for crop in crops:  # image, labels and depth are still of one place
            rows, columns = source_pixels(crop.depth, crop.depth_factor, 128)
            np.testing.assert_array_equal(crop.labels, labels[rows, columns])
        return np.mean([(crop.labels == 7).any() for crop in crops])

    anywhere = (16 / 49) * (32 / 97)  # of the corners' places
    assert share(0.0) == pytest.approx(anywhere, abs=0.06)
    assert share(1.0) == pytest.approx(0.5 + 0.5 * anywhere, abs=0.1)


def test_class_crops_of_a_frame_without_classes_lie_anywhere():
    sample = coordinates(64, 128)
    sample = replace(sample, labels=np.full((64, 128), IGNORE, np.uint8))
    a = Augmentation(16, 32, depth_limit=np.inf, scale=(4.0, 4.0), class_crops=1.0)
    ready = prepare(sample, a, np.random.default_rng(0))
    assert ready.labels.shape == (16, 32)


def test_what_is_too_small_is_padded_with_black_ignored_and_invalid_pixels():
    sample = coordinates(16, 64)
    ready = prepare(sample, Augmentation(24, 64, depth_limit=np.inf))
    np.testing.assert_array_equal(ready.image[:16], sample.image)
    np.testing.assert_array_equal(ready.depth[:16], sample.depth)
    assert not ready.image[16:].any()
    assert (ready.labels[16:] == IGNORE).all()
    assert np.isnan(ready.depth[16:]).all()
    assert ready.inside[:16].all() and not ready.inside[16:].any()


def test_what_is_padding_is_known_in_every_crop():
    sample = replace(coordinates(32, 64), labels=np.full((32, 64), 3, np.uint8))
    a = Augmentation(24, 48, depth_limit=np.inf, scale=(0.4, 1.5), flip=True, jitter=(0.5,) * 4)
    shares = set()
    for seed in range(30):
        ready = prepare(sample, a, np.random.default_rng(seed))
        np.testing.assert_array_equal(ready.inside, ready.labels == 3)
        assert ready.inside.dtype == bool and ready.inside.flags["C_CONTIGUOUS"]
        shares.add(ready.inside.mean())
    assert min(shares) < 0.7 and max(shares) == 1


@pytest.mark.parametrize("canonical", [None, 50.0])
def test_metric_depth_is_divided_by_the_random_scale_only_if_it_is_to_be_rescaled(canonical):
    sample = coordinates(32, 64, focal=(100.0, 100.0))
    lens = 1.0 if canonical is None else 100.0 / 50.0
    options = {"canonical_focal": canonical, "depth_limit": np.inf, "scale": (2.0, 2.0)}
    rescaled, plain = (
        prepare(
            sample,
            Augmentation(32, 64, **options, rescale_depth=flag),
            np.random.default_rng(0),
        )
        for flag in (True, False)
    )
    assert rescaled.depth_factor == pytest.approx(2.0 * lens)
    assert plain.depth_factor == pytest.approx(lens)
    np.testing.assert_allclose(plain.depth, 2.0 * rescaled.depth, rtol=1e-6)


def test_the_depth_limit_is_canonical_and_inclusive():
    sample = coordinates(32, 64, focal=(200.0, 200.0))
    ready = prepare(sample, Augmentation(32, 64, canonical_focal=100.0, depth_limit=50.0))
    np.testing.assert_array_equal(np.isfinite(ready.depth), sample.depth / 2 <= 50.0)
    assert np.nanmax(ready.depth) == 50.0


def test_a_crop_can_be_cut_from_an_image_larger_than_itself():
    sample = coordinates(64, 128, focal=(100.0, 100.0))
    augmentation = Augmentation(48, 48, canonical_focal=50.0, depth_limit=np.inf, image_width=128)
    middle = prepare(sample, augmentation)
    np.testing.assert_array_equal(middle.image, sample.image[8:56, 40:88])
    assert middle.depth_factor == pytest.approx(2.0)
    np.testing.assert_allclose(middle.depth, sample.depth[8:56, 40:88] / 2)
    corners = set()
    for seed in range(30):
        ready = prepare(sample, augmentation, np.random.default_rng(seed))
        left, top = ready.image[0, 0, :2]
        corners.add((int(top), int(left)))
        np.testing.assert_array_equal(ready.image, sample.image[top : top + 48, left : left + 48])
    assert {top for top, _ in corners} <= set(range(17))
    assert len({left for _, left in corners}) > 10


def test_scaling_is_on_top_of_the_resize_to_the_images_width():
    sample = coordinates(64, 128, focal=(100.0, 100.0))
    augmentation = Augmentation(
        32, 32, canonical_focal=100.0, depth_limit=np.inf, scale=(2.0, 2.0), image_width=64
    )
    ready = prepare(sample, augmentation, np.random.default_rng(3))
    assert ready.depth_factor == pytest.approx(1.0)  # halved, then doubled: the original pixels
    rows, columns = source_pixels(ready.depth, ready.depth_factor, 128)
    np.testing.assert_array_equal(ready.image[..., 0], columns)
    np.testing.assert_array_equal(ready.image[..., 1], rows)


def test_stronger_jitter_alone_changes_the_colours_and_nothing_else():
    members = Augmentation(32, 64, 100.0, np.inf, jitter=(0.1, 0.1, 0.1, 0.0))
    distillation = replace(members, jitter=(0.4, 0.4, 0.4, 0.2))
    sample, plain = coordinates(32, 64), prepare(coordinates(32, 64), members)
    for seed in range(5):
        ready = prepare(sample, distillation, np.random.default_rng(seed))
        np.testing.assert_array_equal(ready.labels, plain.labels)
        np.testing.assert_array_equal(ready.depth, plain.depth)
        assert ready.depth_factor == plain.depth_factor
        assert ready.image.shape == plain.image.shape
        assert (ready.image != plain.image).any()


def test_stronger_jitter_moves_colours_farther():
    image = photo().astype(int)
    weak, strong = (
        np.mean([np.abs(color_jitter(photo(), s, np.random.default_rng(i)) - image).mean()
                 for i in range(20)])
        for s in ((0.1, 0.1, 0.1, 0.1), (0.4, 0.4, 0.4, 0.4))
    )  # fmt: skip
    assert strong > 2 * weak > 0


def test_invalid_depth_stays_invalid():
    sample = coordinates(32, 64)
    sample.depth[3, 5] = np.nan
    ready = prepare(sample, Augmentation(32, 64, depth_limit=np.inf))
    assert np.argwhere(np.isnan(ready.depth)).tolist() == [[3, 5]]


def photo(seed=5):
    return np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)


def test_jitter_of_no_strength_is_the_image_itself():
    image = photo()
    assert color_jitter(image, (0, 0, 0, 0), np.random.default_rng(0)) is image


def test_jitter_depends_on_the_generators_state_alone():
    image, strengths = photo(), (0.4, 0.4, 0.4, 0.1)
    before = image.copy()
    first, again, other = (
        color_jitter(image, strengths, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5
    assert first.dtype == np.uint8
    assert first.shape == image.shape
    np.testing.assert_array_equal(image, before)


def test_a_sample_is_augmented_the_same_for_the_same_generator():
    augmentation = Augmentation(
        20, 40, 100.0, scale=(0.8, 1.5), flip=True, jitter=(0.2, 0.2, 0.2, 0.05)
    )
    first, again = (
        prepare(coordinates(32, 64), augmentation, np.random.default_rng(9)) for _ in range(2)
    )
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.depth, again.depth)


@pytest.mark.parametrize("seed", range(8))
def test_brightness_multiplies_and_saturates(seed):
    image = photo()
    factor = np.random.default_rng(seed).uniform(0.5, 1.5)
    out = color_jitter(image, (0.5, 0, 0, 0), np.random.default_rng(seed))
    expected = np.clip(image.astype(float) * factor, 0, 255)
    np.testing.assert_allclose(out, expected, atol=0.51)


@pytest.mark.parametrize("seed", range(8))
def test_contrast_stretches_about_the_mean(seed):
    image = photo()
    rng = np.random.default_rng(seed)
    rng.uniform(1, 1)
    factor = rng.uniform(0.5, 1.5)
    out = color_jitter(image, (0, 0.5, 0, 0), np.random.default_rng(seed))
    mean = image.astype(float).mean()
    np.testing.assert_allclose(out, np.clip((image - mean) * factor + mean, 0, 255), atol=0.52)


@pytest.mark.parametrize("strengths", [(0, 0, 0.9, 0), (0, 0, 0, 0.9), (0, 0, 0.9, 0.9)])
def test_grey_stays_grey_whatever_saturation_and_hue(strengths):
    grey = np.repeat(photo()[..., :1], 3, 2)
    for seed in range(5):
        out = color_jitter(grey, strengths, np.random.default_rng(seed))
        np.testing.assert_allclose(out.astype(int), grey.astype(int), atol=1)


@pytest.mark.parametrize("seed", range(8))
def test_hue_turns_by_up_to_half_its_strength(seed):
    image = photo()
    rng = np.random.default_rng(seed)
    rng.uniform(1, 1, 3)
    turn = 0.5 * rng.uniform(-0.4, 0.4)
    assert abs(turn) <= 0.2
    out = color_jitter(image, (0, 0, 0, 0.4), np.random.default_rng(seed))
    for before, after in zip(image.reshape(-1, 3)[:60], out.reshape(-1, 3)[:60], strict=True):
        h, s, v = colorsys.rgb_to_hsv(*before / 255)
        expected = 255 * np.array(colorsys.hsv_to_rgb((h + turn) % 1, s, v))
        np.testing.assert_allclose(after, expected, atol=1.01)


def test_strong_jitter_never_wraps_around():
    white, black = np.full((8, 8, 3), 255, np.uint8), np.zeros((8, 8, 3), np.uint8)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        assert color_jitter(white, (0.5, 0.5, 0.5, 0.5), rng).min() > 126
        assert not color_jitter(black, (0.5, 0.5, 0.5, 0.5), rng).any()
