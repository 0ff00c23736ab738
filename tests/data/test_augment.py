"""Joint augmentation: pixels of image, labels and depth stay together, and depth stays metric."""

import colorsys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu_core.data.appearance.effects import color_jitter
from emu_core.data.augment import Augmentation, prepare, resize_truth
from emu_core.data.sample import Sample
from emu_core.labels import IGNORE
from emu_core.runtime.fitting import fit_image


def coordinates(height, width, focal=(100.0, 100.0)):
    """A sample in which colour, label and depth of every pixel encode its position."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([columns, rows, np.full_like(rows, 200)], -1).astype(np.uint8)
    labels, depth = (3 * rows + columns) % 19, 1 + rows * width + columns
    return Sample("coordinates", image, labels.astype(np.uint8), depth.astype(np.float32), focal)


def source_pixels(depth, factor, width):
    """Rows and columns of the source that prepared depths came from; exact, or it fails."""
    metric = depth.astype(np.float64) * factor
    code = np.rint(metric)
    np.testing.assert_allclose(metric, code, atol=0.02)
    return np.divmod(code.astype(int) - 1, width)


def assert_pixels_are_of_one_place(ready, sample):
    """The image is not interpolated; returns the rows and columns in the sample."""
    rows, columns = source_pixels(ready.depth, ready.depth_factor, sample.image.shape[1])
    np.testing.assert_array_equal(ready.image, sample.image[rows, columns])
    np.testing.assert_array_equal(ready.labels, sample.labels[rows, columns])
    return rows, columns


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
    [(128, 100.0, 20.0), (128, 150.0, 30.0), (256, 400.0, 20.0), (512, 640.0, 40.0)],
)
def test_canonical_depth_of_an_object_depends_only_on_its_size_in_pixels(width, focal, distance):
    ready = prepare(scene(width, focal, distance), Augmentation(64, 128, canonical_focal=150.0))
    mask = ready.labels == 13
    pixels = np.sqrt(mask.sum())
    # In the canonical camera an object of 4 m covers p = f_c · 4 m / D pixels.
    np.testing.assert_allclose(ready.depth[mask], 150.0 * 4.0 / pixels, rtol=1e-6)
    np.testing.assert_allclose(ready.depth[mask] * ready.depth_factor, distance, rtol=1e-6)
    assert ready.depth_factor == pytest.approx(focal * 128 / width / 150)


def test_unequal_focal_lengths_count_as_their_geometric_mean():
    sample = coordinates(32, 64, focal=(80.0, 180.0))
    ready = prepare(sample, Augmentation(32, 64, canonical_focal=60.0))
    assert ready.depth_factor == pytest.approx(120 / 60)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    source=st.sampled_from([(24, 48), (32, 64), (40, 60), (48, 96), (30, 90)]),
    focal=st.tuples(st.floats(20, 500), st.floats(20, 500)),
    size=st.sampled_from([(24, 48), (16, 48), (32, 64), (20, 30), (40, 90)]),
    canonical=st.none() | st.floats(20, 500),
    scale=st.sampled_from([(1.0, 1.0), (0.5, 2.0), (0.9, 1.6), (1.3, 1.3)]),
    aspect=st.sampled_from([(1.0, 1.0), (0.5, 2.0), (0.7, 0.7)]),
    flip=st.booleans(),
    rescale=st.booleans(),
)
def test_pixels_stay_together_and_depth_stays_metric(
    seed, source, focal, size, canonical, scale, aspect, flip, rescale
):
    sample = coordinates(*source, focal)
    augmentation = Augmentation(
        *size, canonical, np.inf, scale, flip, rescale_depth=rescale, aspect=aspect
    )
    ready = prepare(sample, augmentation, np.random.default_rng(seed))
    assert (ready.image.shape, ready.image.dtype) == ((*size, 3), np.uint8)
    assert (ready.labels.shape, ready.labels.dtype) == (size, np.uint8)
    assert (ready.depth.shape, ready.depth.dtype) == (size, np.float32)
    inside = np.isfinite(ready.depth)
    assert inside.any()
    rows, columns = source_pixels(ready.depth[inside], ready.depth_factor, source[1])
    np.testing.assert_array_equal(ready.labels[inside], sample.labels[rows, columns])
    # The image is interpolated, the others take a neighbour: at most one pixel of the coarser.
    largest = 1 + max(1.0, source[1] / size[1] / scale[0]) * np.sqrt(2.0)
    assert np.abs(ready.image[inside][:, 0].astype(int) - columns).max() <= largest
    assert np.abs(ready.image[inside][:, 1].astype(int) - rows).max() <= largest
    assert (ready.labels[~inside] == IGNORE).all()
    assert not ready.image[~inside].any()


def test_crops_and_flips_move_image_labels_and_depth_alike():
    sample = coordinates(60, 64)
    augmentation = Augmentation(20, 64, depth_limit=np.inf, flip=True)
    found = set()
    for seed in range(30):
        ready = prepare(sample, augmentation, np.random.default_rng(seed))
        rows, columns = assert_pixels_are_of_one_place(ready, sample)
        found.add((int(rows[0, 0]), bool(columns[0, 0] > columns[0, 1])))
    assert {flipped for _, flipped in found} == {False, True}
    assert len({top for top, _ in found}) > 10
    assert all(0 <= top <= 40 for top, _ in found)


@pytest.mark.parametrize("width", [40, 56, 72, 100, 128])
def test_resized_ground_truth_stays_in_place(width):
    depth = np.arange(1, 81, dtype=np.float32)[None].repeat(40, 0)
    sample = replace(coordinates(40, 80), depth=depth, labels=(depth // 8).astype(np.uint8))
    ready = prepare(sample, Augmentation(width // 2, width, depth_limit=np.inf))
    centres = (np.arange(width) + 0.5) * 80 / width - 0.5
    assert np.abs(ready.depth - 1 - centres).max() <= 0.5 + 1e-5
    if width != 40:  # the centre of an even number of pixels is none of them
        assert np.mean(ready.depth - 1 - centres) == pytest.approx(0, abs=0.1)
    np.testing.assert_array_equal(ready.labels, ready.depth // 8)


def test_without_a_generator_the_central_crop_is_taken_and_nothing_is_augmented():
    sample = coordinates(60, 64)
    strong = {"scale": (1.5, 2.0), "flip": True, "jitter": (0.5,) * 4}
    ready = prepare(sample, Augmentation(20, 64, depth_limit=np.inf, **strong))
    for name in ("image", "labels", "depth"):
        np.testing.assert_array_equal(getattr(ready, name), getattr(sample, name)[20:40])


def test_class_crops_show_a_rare_class_half_of_the_time_if_there_are_two():
    labels = np.zeros((64, 128), np.uint8)
    labels[40, 90] = 7
    sample = replace(coordinates(64, 128), labels=labels)

    def share(class_crops):
        a = Augmentation(16, 32, depth_limit=np.inf, scale=(4.0, 4.0), class_crops=class_crops)
        crops = [prepare(sample, a, np.random.default_rng(seed)) for seed in range(300)]
        for crop in crops:  # labels and depth are still of one place
            rows, columns = source_pixels(crop.depth, crop.depth_factor, 128)
            np.testing.assert_array_equal(crop.labels, labels[rows, columns])
        return np.mean([(crop.labels == 7).any() for crop in crops])

    anywhere = (16 / 49) * (32 / 97)  # of the positions of the corner
    assert share(0.0) == pytest.approx(anywhere, abs=0.06)
    assert share(1.0) == pytest.approx(0.5 + 0.5 * anywhere, abs=0.1)


def test_class_crops_of_a_frame_without_classes_are_placed_anywhere():
    sample = replace(coordinates(64, 128), labels=np.full((64, 128), IGNORE, np.uint8))
    a = Augmentation(16, 32, depth_limit=np.inf, scale=(4.0, 4.0), class_crops=1.0)
    assert prepare(sample, a, np.random.default_rng(0)).labels.shape == (16, 32)


def test_padding_is_marked_in_every_crop():
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
def test_random_scaling_divides_depth_only_with_rescale_depth(canonical):
    sample = coordinates(32, 64, focal=(100.0, 100.0))
    lens = 1.0 if canonical is None else 100.0 / 50.0
    a = Augmentation(32, 64, canonical, depth_limit=np.inf, scale=(2.0, 2.0))
    variants = (replace(a, rescale_depth=flag) for flag in (True, False))
    rescaled, plain = (prepare(sample, b, np.random.default_rng(0)) for b in variants)
    assert rescaled.depth_factor == pytest.approx(2.0 * lens)
    assert plain.depth_factor == pytest.approx(lens)
    np.testing.assert_allclose(plain.depth, 2.0 * rescaled.depth, rtol=1e-6)


def test_another_aspect_ratio_is_a_camera_stretched_to_the_input_of_the_network():
    sample = coordinates(48, 64, focal=(100.0, 100.0))  # 4:3 to 2:1
    fitting = fit_image((48, 64), (32, 64), (32, 64))
    a = Augmentation(32, 64, 50.0, np.inf, (np.sqrt(2 / 3),) * 2, aspect=(2 / 3,) * 2)
    ready = prepare(sample, a, np.random.default_rng(0))
    assert ready.depth_factor == pytest.approx(fitting.network_focal(100.0, 100.0) / 50.0)
    stretched = cv2.resize(sample.image, (64, 32), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(ready.image, stretched)
    plain = prepare(sample, replace(a, scale=(1.0, 1.0)), None)
    np.testing.assert_array_equal(plain.image, sample.image[8:40])


def test_the_depth_limit_is_canonical_and_inclusive_and_invalid_depth_stays_invalid():
    sample = coordinates(32, 64, focal=(200.0, 200.0))
    sample.depth[0, 5] = np.nan
    ready = prepare(sample, Augmentation(32, 64, canonical_focal=100.0, depth_limit=50.0))
    np.testing.assert_array_equal(np.isfinite(ready.depth), sample.depth / 2 <= 50.0)
    assert np.nanmax(ready.depth) == 50.0


def test_crops_are_cut_from_an_image_of_another_width():
    sample = coordinates(64, 128, focal=(100.0, 100.0))
    augmentation = Augmentation(48, 48, canonical_focal=50.0, depth_limit=np.inf, image_width=128)
    centre = prepare(sample, augmentation)
    np.testing.assert_array_equal(centre.image, sample.image[8:56, 40:88])
    assert centre.depth_factor == pytest.approx(2.0)
    np.testing.assert_allclose(centre.depth, sample.depth[8:56, 40:88] / 2)
    lefts = set()
    for seed in range(30):
        ready = prepare(sample, augmentation, np.random.default_rng(seed))
        rows, columns = assert_pixels_are_of_one_place(ready, sample)
        assert rows[0, 0] <= 16
        lefts.add(columns[0, 0])
    assert len(lefts) > 10


def test_random_scaling_is_on_top_of_the_resizing_to_image_width():
    sample = coordinates(64, 128, focal=(100.0, 100.0))
    options = {"depth_limit": np.inf, "scale": (2.0, 2.0), "image_width": 64}
    ready = prepare(sample, Augmentation(32, 32, 100.0, **options), np.random.default_rng(3))
    assert ready.depth_factor == pytest.approx(1.0)  # halved, then doubled: the original pixels
    assert_pixels_are_of_one_place(ready, sample)


PHOTO = np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8)


def test_jitter_changes_a_copy_as_much_as_its_strength():
    before = PHOTO.copy()
    assert color_jitter(PHOTO, (0, 0, 0, 0), np.random.default_rng(0)) is PHOTO

    def change(strength):
        images = [
            color_jitter(PHOTO, (strength,) * 4, np.random.default_rng(seed)) for seed in range(20)
        ]
        assert {(image.dtype.name, image.shape) for image in images} == {("uint8", PHOTO.shape)}
        return np.mean([np.abs(image.astype(int) - PHOTO).mean() for image in images])

    assert change(0.4) > 2 * change(0.1) > 0
    np.testing.assert_array_equal(PHOTO, before)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("which", [0, 1])
def test_brightness_multiplies_and_contrast_stretches_about_the_mean(seed, which):
    strengths = tuple(0.5 if i == which else 0 for i in range(4))
    rng = np.random.default_rng(seed)
    factor = [rng.uniform(1 - s, 1 + s) for s in strengths[:2]][which]
    out = color_jitter(PHOTO, strengths, np.random.default_rng(seed))
    mean = PHOTO.astype(float).mean() if which else 0.0
    expected = np.clip((PHOTO - mean) * factor + mean, 0, 255)
    np.testing.assert_allclose(out, expected, atol=0.52)


@pytest.mark.parametrize("strengths", [(0, 0, 0.9, 0), (0, 0, 0, 0.9), (0, 0, 0.9, 0.9)])
def test_saturation_and_hue_leave_grey_unchanged(strengths):
    grey = np.repeat(PHOTO[..., :1], 3, 2)
    for seed in range(5):
        out = color_jitter(grey, strengths, np.random.default_rng(seed))
        np.testing.assert_allclose(out.astype(int), grey.astype(int), atol=1)


@pytest.mark.parametrize("seed", range(8))
def test_hue_turns_by_up_to_half_its_strength(seed):
    rng = np.random.default_rng(seed)
    rng.uniform(1, 1, 3)
    turn = 0.5 * rng.uniform(-0.4, 0.4)
    assert abs(turn) <= 0.2
    out = color_jitter(PHOTO, (0, 0, 0, 0.4), np.random.default_rng(seed))
    for before, after in zip(PHOTO.reshape(-1, 3)[:60], out.reshape(-1, 3)[:60], strict=True):
        h, s, v = colorsys.rgb_to_hsv(*before / 255)
        expected = 255 * np.array(colorsys.hsv_to_rgb((h + turn) % 1, s, v))
        np.testing.assert_allclose(after, expected, atol=1.01)


# Sparse ground truth


def lidar(height, width, count, seed=0):
    """Depth and labels of `count` single points, at least two pixels apart."""
    rng = np.random.default_rng(seed)
    places = rng.permutation((height // 2) * (width // 2))[:count]
    rows, columns = (2 * x for x in np.divmod(places, width // 2))
    depth = np.full((height, width), np.nan, np.float32)
    labels = np.full((height, width), IGNORE, np.uint8)
    depth[rows, columns] = rng.permutation(count) + 1
    labels[rows, columns] = rng.integers(0, 19, count)
    return rows, columns, depth, labels


def resized(depth, labels, width, height):
    size = (width, height)
    return (
        resize_truth(depth, np.isfinite(depth), size, np.nan, depth),
        resize_truth(labels, labels != IGNORE, size, IGNORE, depth),
    )


@pytest.mark.parametrize("size", [(40, 20), (30, 17), (200, 100), (80, 40), (97, 61)])
@pytest.mark.parametrize("count", [1, 2, 50, 400])
def test_points_move_to_the_pixel_that_they_fall_into_and_the_nearest_stays(size, count):
    rows, columns, depth, labels = lidar(40, 80, count)
    small, classes = resized(depth, labels, *size)
    expected: dict[tuple[int, int], float] = {}
    for row, column in zip(rows, columns, strict=True):
        place = (int((row + 0.5) / 40 * size[1]), int((column + 0.5) / 80 * size[0]))
        expected[place] = min(float(depth[row, column]), expected.get(place, np.inf))
    found = {(int(r), int(c)): float(small[r, c]) for r, c in np.argwhere(np.isfinite(small))}
    assert found == expected  # also none more: no blocks where the map is enlarged
    assert {(int(r), int(c)) for r, c in np.argwhere(classes != IGNORE)} == set(expected)
    class_of = {float(d): label for d, label in zip(depth.ravel(), labels.ravel(), strict=True)}
    assert all(classes[place] == class_of[metres] for place, metres in expected.items())


def test_most_points_survive_where_nearest_neighbour_drops_them():
    _, _, depth, labels = lidar(400, 800, 3000)
    small, _ = resized(depth, labels, 200, 100)
    nearest = cv2.resize(depth, (200, 100), interpolation=cv2.INTER_NEAREST_EXACT)
    assert np.isfinite(small).sum() > 2500 > 1000 > np.isfinite(nearest).sum()


@pytest.mark.parametrize("size", [(40, 20), (33, 20), (120, 90), (80, 40)])
def test_dense_truth_is_resized_by_nearest_neighbour(size):
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 80, (40, 80)).astype(np.float32)
    depth[:12], depth[20:25, 30:60] = np.nan, np.nan  # sky, and a hole
    labels = rng.integers(0, 19, (40, 80)).astype(np.uint8)
    labels[5:9] = IGNORE
    nothing = np.full((40, 80), np.nan, np.float32), np.full((40, 80), IGNORE, np.uint8)
    for maps in ((depth, labels), nothing):
        for ours, source in zip(resized(*maps, *size), maps, strict=True):
            exact = cv2.resize(source, size, interpolation=cv2.INTER_NEAREST_EXACT)
            np.testing.assert_array_equal(ours, exact)
            assert ours.dtype == source.dtype


def test_a_prepared_lidar_frame_keeps_its_points_in_metres():
    _, _, depth, labels = lidar(80, 160, 300)
    image = np.zeros((80, 160, 3), np.uint8)
    sample = Sample("lidar", image, labels, depth, (100.0, 100.0))
    ready = prepare(sample, Augmentation(40, 80, canonical_focal=25.0, depth_limit=np.inf))
    assert ready.depth_factor == pytest.approx(2.0)
    kept = ready.depth[np.isfinite(ready.depth)] * ready.depth_factor
    assert len(kept) > 250 and np.isin(np.rint(kept), depth[np.isfinite(depth)]).all()
    np.testing.assert_array_equal(np.isfinite(ready.depth), ready.labels != IGNORE)
