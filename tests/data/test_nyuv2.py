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
    valid = np.isfinite(depth) & (depth > 0) & (depth <= limit)
    np.testing.assert_array_equal(np.isfinite(sample.depth), valid)
    np.testing.assert_allclose(sample.depth[valid], depth[valid], rtol=1e-6)
    assert sample.labels.dtype == sample.image.dtype == np.uint8
    assert sample.depth.dtype == np.float32
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


def test_images_are_read_without_ground_truth(official, frames):
    sample = NYUv2(official, "test", labelled=False)[0]
    np.testing.assert_array_equal(sample.image, frames[2][0])
    assert (sample.labels == IGNORE).all()
    assert np.isnan(sample.depth).all()
    assert sample.focal == FOCAL


@pytest.mark.parametrize("name", [MAT, SPLITS, MAPPING])
def test_one_missing_file_of_the_three_is_named_with_its_origin(official, name):
    (official / name).unlink()
    with pytest.raises(DataError, match="does not hold all three files") as error:
        NYUv2(official, "train")
    assert f"missing: {name} (from {ORIGINS[name]})" in str(error.value)
    assert str(official) in str(error.value)


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
def test_a_damaged_file_is_named_with_its_origin(official, name, content):
    path = official / name
    code = path.read_bytes()
    path.write_bytes(code[: len(code) // 2] if content is None else content)
    with pytest.raises(DataError) as error:
        NYUv2(official, "train")
    assert str(path) in str(error.value)
    assert ORIGINS[name] in str(error.value)


def test_a_mat_file_without_the_expected_variable_is_refused(official):
    savemat(official / SPLITS, {"trainIdx": np.arange(3)})
    with pytest.raises(DataError, match="not the expected MATLAB file with trainNdxs"):
        NYUv2(official, "train")


@pytest.mark.parametrize(
    "mapping", [np.arange(894) % 13 + 41, np.arange(40) + 1, np.arange(894) % 40]
)
def test_a_class_map_that_is_not_894_to_40_is_refused(official, mapping):
    savemat(official / MAPPING, {"mapClass": mapping[None]})
    with pytest.raises(DataError, match=r"expected mapClass to map 894 classes to 1…40") as error:
        NYUv2(official, "train")
    assert str(official / MAPPING) in str(error.value)


@pytest.mark.parametrize("numbers", [[0, 1, 2], [5, 1450], []])
def test_splits_with_numbers_of_missing_images_are_refused(official, numbers):
    column = np.array(numbers, float).reshape(-1, 1)
    savemat(official / SPLITS, {"trainNdxs": column, "testNdxs": column})
    with pytest.raises(DataError, match="holds 1 to 1449") as error:
        NYUv2(official, "train")
    assert str(official / SPLITS) in str(error.value)


@pytest.mark.parametrize("key", ["images", "depths", "labels"])
def test_missing_arrays_and_arrays_of_another_order_or_type_are_refused(official, key):
    with h5py.File(official / MAT, "r+") as file:
        shape = file[key].shape
        del file[key]
    with pytest.raises(DataError, match="no HDF5 file with images, depths and labels"):
        NYUv2(official, "train")
    with h5py.File(official / MAT, "r+") as file:
        file.create_dataset(key, shape[::-1], np.float64, chunks=True)
    with pytest.raises(DataError, match=f"{MAT}: expected {key} to be"):
        NYUv2(official, "train")


def test_a_label_outside_the_class_map_is_refused(tmp_path, write_nyuv2, frames):
    image, labels, depth = frames[2]
    write_nyuv2(tmp_path, {2: (image, np.where(labels == 894, 895, labels), depth)})
    with pytest.raises(DataError, match="image 0002 has the label 895"):
        NYUv2(tmp_path, "test")[0]


def in_millimetres(content):
    """A frame with the depths that whole millimetres can hold."""
    image, labels, depth = content
    return image, labels, (np.rint(depth * 1000) / 1000).astype(np.float32)


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
    check(train[0], 3, in_millimetres(frames[3]))
    check(train[1], 1449, in_millimetres(frames[1449]))
    check(test[0], 2, in_millimetres(frames[2]))


def test_unpacked_images_are_read_without_ground_truth(unpacked, frames):
    for folder in ("depth", "labels_40"):
        (unpacked / "test" / folder / "0002.png").unlink()
    sample = NYUv2(unpacked, "test", labelled=False)[0]
    np.testing.assert_array_equal(sample.image, frames[2][0])
    assert (sample.labels == IGNORE).all()
    with pytest.raises(DataError, match=r"No file .*0002\.png"):
        NYUv2(unpacked, "test")[0]


def test_an_unpacked_split_without_images_is_refused(unpacked):
    (unpacked / "test/rgb/0002.png").unlink()
    with pytest.raises(DataError, match=r"No image in .*rgb: expected NNNN\.png"):
        NYUv2(unpacked, "test")


@pytest.mark.parametrize(
    ("folder", "array", "message"),
    [
        ("rgb", np.zeros((240, 320, 3), np.uint8), r"is \(240, 320\) \(H,W\)"),
        ("depth", np.zeros((240, 320), np.uint16), r"is \(240, 320\) \(H,W\)"),
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
