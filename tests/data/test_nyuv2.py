"""Both forms of NYUv2 against files in the official layout, written without code under test."""

import pickle

import cv2
import h5py
import numpy as np
import pytest
from scipy.io import savemat

from emu_core.data.datasets import PinholeCamera
from emu_core.data.nyuv2 import FOCAL, MAX_DEPTH, ORIGINS, NYUv2
from emu_core.data.sample import DataError
from emu_core.labels import IGNORE, NYUV2

MAT, SPLITS, MAPPING = "nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"


def frame(seed, limit=12.0):
    """Random image, labels of 894 classes (0 unlabelled), depth with zeros and far pixels."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (480, 640, 3), np.uint8)
    labels = rng.integers(0, 895, (480, 640)).astype(np.uint16)
    labels[0, :2] = 0, 894
    depth = rng.uniform(0.5, limit, (480, 640)).astype(np.float32)
    depth[1, :3] = 0, MAX_DEPTH, np.nan
    return image, labels, depth


def train_ids(labels):
    """Map 894 classes as the fixture's class map does: class c is (c − 1) % 40."""
    return np.where(labels == 0, IGNORE, (labels.astype(int) - 1) % 40)


@pytest.fixture(scope="module")
def frames():
    return {3: frame(3), 1449: frame(9), 2: frame(2)}


@pytest.fixture
def official(tmp_path, write_nyuv2, frames):
    write_nyuv2(tmp_path / "nyu", frames)
    return tmp_path / "nyu"


def check(sample, number, expected, limit=MAX_DEPTH):
    image, labels, depth = expected
    assert sample.name == f"{number:04d}"
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.labels, train_ids(labels))
    valid = (depth > 0) & (depth <= limit)  # False for NaN
    np.testing.assert_allclose(sample.depth, np.where(valid, depth, np.nan), rtol=1e-6)
    dtypes = (sample.image.dtype, sample.labels.dtype, sample.depth.dtype)
    assert dtypes == (np.uint8, np.uint8, np.float32)
    assert sample.focal == pytest.approx((518.8579, 519.4696), abs=1e-4)


def test_the_official_files_hold_795_and_654_upright_frames(official, frames):
    train, test = NYUv2(official, "train"), NYUv2(official, "test")
    assert (len(train), len(test)) == (795, 654)
    assert not set(train.names) & set(test.names)
    check(train[train.names.index("0003")], 3, frames[3])
    check(train[794], 1449, frames[1449])
    check(test[0], 2, frames[2])
    assert train.classes is NYUV2
    assert train.files("0003") == [official / MAT, official / MAPPING]
    assert train.camera("0003") == PinholeCamera(*FOCAL, 640, 480)
    assert test[0].depth[1, 1] == MAX_DEPTH  # the limit is inclusive
    check(NYUv2(official, "test", max_depth=4.0)[0], 2, frames[2], limit=4.0)
    with pytest.raises(IndexError):
        test[654]
    copied = pickle.loads(pickle.dumps(test))  # it holds no open file
    check(copied[0], 2, frames[2])


@pytest.fixture
def refused(official):
    """Function that expects an error, whose message names a file and its origin."""

    def call(path, message=None):
        with pytest.raises(DataError, match=message) as error:
            NYUv2(official, "train")
        assert str(path) in str(error.value)
        return str(error.value)

    return call


@pytest.mark.parametrize("name", [MAT, SPLITS, MAPPING])
def test_one_missing_file_of_the_three_is_named_with_its_origin(official, refused, name):
    (official / name).unlink()
    message = refused(official, "does not hold all three files")
    assert f"missing: {name} (from {ORIGINS[name]})" in message


def test_an_empty_folder_names_all_three_files_and_the_unpacked_form(tmp_path):
    with pytest.raises(DataError, match="labels_40") as error:
        NYUv2(tmp_path, "train")
    for name, origin in ORIGINS.items():
        assert f"{name} (from {origin})" in str(error.value)
    assert str(tmp_path / "train") in str(error.value)


def test_another_split_is_refused_and_the_two_are_named(tmp_path):
    with pytest.raises(DataError, match="splits train and test, but got 'val'"):
        NYUv2(tmp_path, "val")


@pytest.mark.parametrize("name", [MAT, SPLITS, MAPPING])
@pytest.mark.parametrize("content", [b"", None, b"<html>404</html>"])  # None: the first half
def test_a_damaged_file_is_named_with_its_origin(official, refused, name, content):
    path = official / name
    code = path.read_bytes()
    path.write_bytes(code[: len(code) // 2] if content is None else content)
    assert ORIGINS[name] in refused(path)


def test_a_mat_file_without_the_expected_variable_is_refused(official, refused):
    savemat(official / SPLITS, {"trainIdx": np.arange(3)})
    refused(official / SPLITS, "not the expected MATLAB file with trainNdxs")


@pytest.mark.parametrize(
    "mapping", [np.arange(894) % 13 + 41, np.arange(40) + 1, np.arange(894) % 40]
)
def test_a_class_map_that_is_not_894_to_40_is_refused(official, refused, mapping):
    savemat(official / MAPPING, {"mapClass": mapping[None]})
    refused(official / MAPPING, "expected mapClass to map 894 classes to 1…40")


@pytest.mark.parametrize("numbers", [[0, 1, 2], [5, 1450], []])
def test_splits_with_numbers_of_missing_images_are_refused(official, refused, numbers):
    column = np.array(numbers, float).reshape(-1, 1)
    savemat(official / SPLITS, {"trainNdxs": column, "testNdxs": column})
    refused(official / SPLITS, "has images 1 to 1449")


@pytest.mark.parametrize("key", ["images", "depths", "labels"])
def test_missing_arrays_and_arrays_of_another_order_or_type_are_refused(official, refused, key):
    with h5py.File(official / MAT, "r+") as file:
        shape = file[key].shape
        del file[key]
    refused(official / MAT, "not an HDF5 file with images, depths and labels")
    with h5py.File(official / MAT, "r+") as file:
        file.create_dataset(key, shape[::-1], np.float64, chunks=True)
    refused(official / MAT, f"expected {key} to be")


def test_a_label_outside_the_class_map_is_refused(tmp_path, write_nyuv2, frames):
    image, labels, depth = frames[2]
    write_nyuv2(tmp_path, {2: (image, np.where(labels == 894, 895, labels), depth)})
    with pytest.raises(DataError, match="image 0002 has the label 895"):
        NYUv2(tmp_path, "test")[0]


@pytest.fixture
def unpacked(tmp_path, frames, write_nyuv2_unpacked):
    for split, number in (("train", 1449), ("train", 3), ("test", 2)):
        image, labels, depth = frames[number]
        ids = np.where(labels == 0, 0, (labels.astype(int) - 1) % 40 + 1).astype(np.uint8)
        millimetres = np.rint(np.nan_to_num(depth) * 1000).astype(np.uint16)
        write_nyuv2_unpacked(tmp_path, split, number, image, ids, millimetres)
    return tmp_path


def test_the_unpacked_form_holds_the_same_samples(unpacked, frames):
    train, test = NYUv2(unpacked, "train"), NYUv2(unpacked, "test")
    assert train.names == ["0003", "1449"]
    folders = ("rgb", "labels_40", "depth")
    assert train.files("0003") == [unpacked / "train" / f / "0003.png" for f in folders]
    for sample, number in ((train[0], 3), (train[1], 1449), (test[0], 2)):
        image, labels, depth = frames[number]
        check(sample, number, (image, labels, np.rint(depth * 1000) / np.float32(1000)))


@pytest.mark.parametrize("form", ["official", "unpacked"])
def test_images_are_read_without_ground_truth(form, request, frames):
    root = request.getfixturevalue(form)
    if form == "unpacked":
        for folder in ("depth", "labels_40"):
            (root / "test" / folder / "0002.png").unlink()
        with pytest.raises(DataError, match=r"No file .*0002\.png"):
            NYUv2(root, "test")[0]
    sample = NYUv2(root, "test", labelled=False)[0]
    np.testing.assert_array_equal(sample.image, frames[2][0])
    assert (sample.labels == IGNORE).all()
    assert np.isnan(sample.depth).all()
    assert sample.focal == FOCAL


def test_an_unpacked_split_without_images_is_refused(unpacked):
    (unpacked / "test/rgb/0002.png").unlink()
    with pytest.raises(DataError, match=r"No image in .*rgb: expected NNNN\.png"):
        NYUv2(unpacked, "test")


@pytest.mark.parametrize(
    ("folder", "array", "message"),
    [
        ("rgb", np.zeros((240, 320, 3), np.uint8), r"has the size \(240, 320\) \(H,W\)"),
        ("depth", np.zeros((240, 320), np.uint16), r"has the size \(240, 320\) \(H,W\)"),
        ("depth", np.zeros((480, 640), np.uint8), "expected 16-bit grey, but got uint8"),
        ("labels_40", np.zeros((480, 640, 3), np.uint8), "expected 8-bit grey, but got uint8"),
        ("labels_40", np.full((480, 640), 41, np.uint8), "holds the id 41"),
        ("labels_40", np.full((480, 640), 255, np.uint8), "add 1 to every pixel"),
    ],
)
def test_a_wrong_unpacked_file_is_refused(unpacked, folder, array, message):
    path = unpacked / "test" / folder / "0002.png"
    assert cv2.imwrite(str(path), array)
    with pytest.raises(DataError, match=message) as error:
        NYUv2(unpacked, "test")[0]
    assert str(path) in str(error.value)
