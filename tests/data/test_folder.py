"""Data sets from folders: what is read, how frames are named, and what is refused."""

import io
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from emu_core.data import image_files
from emu_core.data.datasets import PinholeCamera, SplitNames, open_dataset
from emu_core.data.decoded import cached
from emu_core.data.folder import FolderDataSet
from emu_core.data.sample import DataError
from emu_core.labels import CITYSCAPES, IGNORE

CLASSES = {0: "ground", 4: "tree", 9: "sky"}
IDS = np.repeat(np.array([0, 4, 9, 7], np.uint8), 2)[:, None].repeat(16, 1)
TRAIN_IDS = np.repeat(np.array([0, 1, 2, IGNORE], np.uint8), 2)[:, None].repeat(16, 1)
METRES = np.linspace(0.5, 100, 128, dtype=np.float32).reshape(8, 16)
METRES[0, :4] = 0
VALID = np.where((METRES > 0) & (METRES <= 80), METRES, np.nan)


def png(array, mode=None, palette=None, **options):
    """The bytes of a PNG in one of Pillow's modes."""
    image = Image.fromarray(array, mode)
    if palette is not None:
        image.putpalette(palette)
    buffer = io.BytesIO()
    image.save(buffer, "png", **options)
    return buffer.getvalue()


def kitti(metres, scale=256):
    return np.rint(metres * scale).astype(np.uint16)


PALETTE_PNG = png(IDS, "P", np.random.default_rng(0).permutation(768).astype(np.uint8).tolist())


@pytest.fixture
def root(write_folder, photo, camera):
    """Frames with labels, depth and camera in every form that there is."""
    files = {
        "images/a.png": photo(10),
        "images/front/07.jpg": photo(20),
        "images/front/08.JPEG": photo(30),
        "images/front/deep/x.y.PNG": photo(40),
        "images/front/.hidden.png": b"no image",
        "images/.cache/z.png": photo(),
        "images/front/notes.txt": "no image",
        "labels/a.png": IDS,
        "labels/front/07.PNG": PALETTE_PNG,
        "labels/front/deep/x.y.png": np.full((8, 16), 255, np.uint8),
        "labels/front/._07.png": b"no image",
        "depth/a.png": kitti(METRES),
        "depth/front/07.npy": np.where(METRES > 0, METRES, np.nan),
        "depth/front/deep/x.y.PNG": kitti(METRES),
        "cameras.json": {".": camera, "./front/": camera | {"width": 32, "height": 16}},
        "cameras/front/08.json": camera | {"fx": 30},
    }
    return write_folder(files, name="own", classes=CLASSES)


def test_frames_have_their_paths_as_names_and_the_truth_that_there_is(root):
    data = FolderDataSet(root, "train")
    assert data.names == ["a", "front/07", "front/08", "front/deep/x.y"]
    assert (data.title, data.classes.names, data.max_depth) == ("own", (*CLASSES.values(),), 80)
    a, front, without_truth, without_camera = data
    for grey, sample in zip((10, 20, 30, 40), data, strict=True):
        assert (sample.image.shape, sample.image.dtype) == ((8, 16, 3), np.uint8)
        assert abs(sample.image.astype(int) - grey).max() <= 1
    for sample, focal in ((a, (20, 22)), (front, (10, 11))):  # a camera of twice the size
        np.testing.assert_array_equal(sample.labels, TRAIN_IDS)
        np.testing.assert_allclose(sample.depth, VALID, atol=1 / 512)
        assert sample.focal == focal and sample.labelled and sample.measured
    assert without_truth.focal == (30, 22)
    assert not (without_truth.labelled or without_truth.measured)
    assert (without_truth.labels == IGNORE).all() and np.isnan(without_truth.depth).all()
    assert without_camera.labelled and (without_camera.labels == IGNORE).all()
    assert without_camera.focal is None and not without_camera.measured
    assert np.isnan(without_camera.depth).all()


def test_truth_is_known_without_reading_and_every_file_is_named(root):
    data = FolderDataSet(root, "train")
    assert [data.has_labels(name) for name in data.names] == [True, True, False, True]
    assert [data.has_depth(name) for name in data.names] == [True, True, False, False]
    assert data.camera("front/07") == PinholeCamera(10, 11, 16, 8)
    assert data.camera("front/deep/x.y") is None
    files = {path.relative_to(root).as_posix() for path in data.files("front/07")}
    described = {"dataset.yaml", "cameras.json"}
    assert (
        files == {"images/front/07.jpg", "labels/front/07.PNG", "depth/front/07.npy"} | described
    )
    assert root / "cameras/front/08.json" in data.files("front/08")
    assert [data.sequence_of(name) for name in data.names] == [
        None,
        "front",
        "front",
        "front/deep",
    ]
    assert data.unknown_ids("a") == {7: 32} and data.unknown_ids("front/deep/x.y") == {}
    images = FolderDataSet(root, "train", labelled=False)
    assert not any(images.has_labels(name) or images.has_depth(name) for name in images.names)
    assert not images[0].labelled and images[0].focal == (20, 22)
    assert {path.parent.name for path in images.files("a")} == {"own", "images"}


def test_frames_in_folders_and_with_partial_truth_are_cached(root, tmp_path):
    data = FolderDataSet(root, "train")
    for _ in range(2):
        for one, other in zip(cached(data, tmp_path / "cache"), data, strict=True):
            for name, value in vars(other).items():
                np.testing.assert_array_equal(getattr(one, name), value)
    assert len([p for p in (tmp_path / "cache").rglob("*") if p.is_file()]) == len(data)


def test_a_scale_and_a_limit_of_the_depth_come_from_dataset_yaml(write_folder, photo, camera):
    files = {
        "images/0.png": photo(),
        "depth/0.png": kitti(METRES, 100),
        "cameras.json": {"": camera},
    }
    root = write_folder(files, depth={"scale": 100, "limit": 30})
    data = open_dataset("folder", root, "train")
    expected = np.where((METRES > 0) & (METRES <= 30), METRES, np.nan)
    np.testing.assert_allclose(data[0].depth, expected, atol=1 / 190)
    assert np.nanmax(FolderDataSet(root, "train", 20.0)[0].depth) <= 20


def test_classes_map_to_the_table_and_the_mapping_of_files_beside_dataset_yaml(
    write_folder, photo
):
    files = {
        "images/0.png": photo(),
        "table.yaml": "classes: [soil, {name: plant, aliases: [tree]}, sky]",
        "map.yaml": "ground: [soil, plant]",
    }
    root = write_folder(files, classes=CLASSES, maps_to="table.yaml", mapping="map.yaml")
    space = FolderDataSet(root, "train").space
    assert space.model.names == ("soil", "plant", "sky")
    assert space.sets == ((0, 1), (1,), (2,))
    own = write_folder(
        {"images/0.png": photo()}, "two", classes=["road", "sky"], maps_to="cityscapes"
    )
    data = FolderDataSet(own, "train")
    assert data.space.model == CITYSCAPES and data.space.sets == ((0,), (10,))
    assert data.classes.dataset_ids == (0, 1)


def test_splits_are_patterns_of_names_or_names_themselves(write_folder, photo):
    names = ["day/00", "day/01", "day/10", "night/00", "odd[1]"]
    files = {f"images/{name}.png": photo() for name in names}
    splits = {"train": "day/0*", "val": ["day/1?", "odd[1]"], "test": ["night/*"]}
    root = write_folder(files, splits=splits)
    found = {split: FolderDataSet(root, split).names for split in splits}
    assert found == {"train": names[:2], "val": ["day/10", "odd[1]"], "test": ["night/00"]}
    assert FolderDataSet.split_names(root) == SplitNames("train", "val", "test")
    two = write_folder({}, "two", splits={"train": ["a"], "val": ["b"]})
    assert FolderDataSet.split_names(two) == SplitNames("train", "val", "val")
    calibrated = write_folder({}, "calibrated", splits={"calibration": ["a"], "val": ["b"]})
    assert FolderDataSet.split_names(calibrated).calibration == "calibration"
    one = write_folder({}, "one", license="CC0-1.0")
    assert FolderDataSet.split_names(one) == SplitNames("train", None, None)


def test_a_bootstrap_draws_folders_or_moments(write_folder, photo):
    files = {f"images/{camera}/{moment}.png": photo() for camera in "ab" for moment in (0, 1)}
    for number, (entry, expected) in enumerate(
        [({}, ["a", "a", "b", "b"]), ({"group_by": "name"}, ["0", "1", "0", "1"])]
    ):
        data = FolderDataSet(write_folder(files, str(number), name="x", **entry), "train")
        assert [data.group_of(name) for name in data.names] == expected


def test_linked_folders_are_followed_but_not_in_a_circle(root, tmp_path, write_folder):
    linked = write_folder({}, "linked", classes=CLASSES)
    for folder in ("images", "labels", "depth"):
        (linked / folder).symlink_to(root / folder)
    (root / "images" / "front" / "loop").symlink_to(root / "images")
    data = FolderDataSet(linked, "train")
    assert data.names == ["a", "front/07", "front/08", "front/deep/x.y"]
    np.testing.assert_array_equal(data[0].labels, TRAIN_IDS)


@pytest.mark.parametrize("end", ["jpg", "png"])
def test_images_are_read_as_stored_whatever_their_orientation_flag(
    end, write_folder, photo, camera, monkeypatch
):
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # to be shown rotated
    Image.fromarray(photo()).save(buffer, {"jpg": "jpeg"}.get(end, end), exif=exif)
    files = {
        f"images/0.{end}": buffer.getvalue(),
        "labels/0.png": IDS,
        "cameras.json": {"": camera},
    }
    data = FolderDataSet(write_folder(files, classes=CLASSES), "train")
    monkeypatch.setattr(image_files, "_known_flags", {6})  # no warning
    assert data[0].image.shape == (8, 16, 3) and data[0].focal == (20, 22)
    assert data.camera("0") == PinholeCamera(20, 22, 16, 8)


def test_whether_there_is_depth_is_known_without_decoding_the_image(root, monkeypatch):
    data = FolderDataSet(root, "train")
    monkeypatch.setattr(cv2, "imdecode", None)
    assert data.has_depth("front/07")


# What is refused: what is wrong with the files, and the message

CAMERA = dict.fromkeys(("width", "height", "fx", "fy"), 9)
SMALL = np.zeros((4, 16), np.uint8)
DESCRIPTIONS = [
    ({"group_by": "moment"}, "dataset.yaml: expected `group_by` to be one of folder, name"),
    ({"clases": {}}, "dataset.yaml: expected the keys name, classes, .*, but got .*clases"),
    ({"classes": "road"}, "expected `classes` to be a mapping, but got road"),
    ({"classes": {300: "a"}}, r"expected ids from 0 to 255 in `classes`, but got \[300\]"),
    ({"classes": {"a": 1}}, r"expected ids from 0 to 255 in `classes`, but got \['a'\]"),
    ({"classes": {1: "a", 2: "a"}}, r"expected each class to have one id, but got \['a'\]"),
    ({"classes": {i: f"c{i}" for i in range(256)}}, "expected at most 255 classes, but got 256"),
    ({"classes": {1: None}}, r"expected names in `classes`, but got \[None\]"),
    ({"depth": {"unit": "mm"}}, r"expected scale and limit in `depth`, but got \['unit'\]"),
    ({"depth": {"scale": 0}}, r"expected positive numbers in `depth`, but got \(0, 80.0\)"),
    ({"depth": {"limit": "far"}}, r"expected positive numbers in `depth`, but got .*far"),
    ({"depth": 256}, "expected `depth` to be a mapping, but got 256"),
    ({"splits": ["train"]}, r"expected `splits` to be a mapping, but got \['train'\]"),
    ({"splits": {"train": 5}}, r"expected patterns of frame names in `splits`, but got .*5"),
    ({"splits": {"train": [0]}}, r"expected patterns of frame names in `splits`, but got .*0"),
    ({"mapping": ["a"]}, "expected `mapping` to be a mapping"),
    ({"mapping": "gone.yaml"}, r"No file .*gone\.yaml"),
    ({"maps_to": 5}, "expected `maps_to` to name a class table, but got 5"),
    ({"maps_to": "gone.yaml"}, r"cannot read the class table .*gone\.yaml"),
    ({"maps_to": "kitti"}, "no class table 'kitti': expected cityscapes, nyuv2 or"),
    ({"maps_to": "cityscapes", "classes": {1: "Smoke"}}, "has no class for Smoke: say in"),
    ({"splits": {"val": ["*"]}}, r"dataset.yaml has no split train; it has val\. Add patterns"),
    (
        {"splits": {"train": ["x*", "y"]}},
        r"no frame matches the split train \(x\*, y\); .* like 0",
    ),
    (
        {"splits": {"train": ["*"], "val": ["0"]}},
        "dataset.yaml: 1 frames are in the splits train and val, e.g. 0",
    ),
]
FILES = [
    ({"dataset.yaml": "- a"}, "dataset.yaml: expected a mapping of keys to values"),
    ({"dataset.yaml": "a: ["}, "dataset.yaml cannot be read as YAML"),
    ({"dataset.yaml": ""}, "dataset.yaml is empty"),
    ({"images/0.png": None}, r"No image in .*images: expected \.jpg, \.jpeg or \.png"),
    ({"images/0.jpg": b"x"}, r"0\.jpg and .*0\.png have the same name: remove one"),
    ({"images/0.png": b"x"}, r"images/0\.png is damaged"),
    ({"images/0.png": b""}, r"images/0\.png is empty"),
    ({"labels/0.png": SMALL}, r"labels/0\.png has 16×4 pixels, but its image has 16×8"),
    (
        {"labels/0.png": np.zeros((8, 16, 3), np.uint8)},
        "expected 8-bit grey, but got uint8 .*ids?",
    ),
    ({"labels/0.png": np.zeros((8, 16), np.uint16)}, "expected 8-bit grey, but got uint16"),
    ({"labels/0.png": png(IDS > 0)}, r"labels/0\.png: expected 8-bit grey, but got 1-bit"),
    ({"labels/0.png": PALETTE_PNG[:-40]}, r"labels/0\.png is damaged"),
    (
        {"labels/0.png": IDS, "dataset.yaml": "name: x"},
        "has no `classes`, but .*labels has labels",
    ),
    ({"depth/0.png": SMALL}, r"depth/0\.png: expected 16-bit grey, .* 8 bits are too few"),
    ({"depth/0.png": SMALL.astype(np.uint16)}, r"depth/0\.png has 16×4 pixels"),
    ({"depth/0.png": None, "depth/0.npy": b"x"}, r"depth/0\.npy cannot be read as a NumPy file"),
    (
        {"depth/0.png": None, "depth/0.npy": np.zeros((8, 16), np.uint16)},
        r"depth/0\.npy: expected metres as float32 \(H, W\), but got uint16 \(8, 16\)",
    ),
    ({"depth/0.npy": METRES}, r"0\.npy and .*0\.png have the same name"),
    ({"cameras.json": "{"}, r"cameras\.json cannot be read as JSON"),
    ({"cameras.json": [1]}, r"cameras\.json: expected a JSON object, but got \[1\]"),
    (
        {"cameras.json": {"": {"fx": 1}}},
        r"cameras\.json, '' is not a camera \(KeyError: 'width'\)",
    ),
    ({"cameras.json": {"": 3}}, "is not a camera .*: expected width, height, fx and fy in pixels"),
    ({"cameras.json": {"": CAMERA | {"fy": 0}}}, "above 0"),
    (
        {"cameras.json": {"fornt": CAMERA}},
        r"cameras\.json has cameras of fornt, but the folders of images are \.\.",
    ),
    ({"cameras/0.json": {"width": 16}}, r"cameras/0\.json is not a camera"),
    (
        {"cameras/0.json": {"width": 16, "height": 9, "fx": 9, "fy": 9}},
        r"0\.png is 16×8, but its camera in .*0\.json is 16×9: do not crop images",
    ),
]


def read(root):
    data = FolderDataSet(root, "train")
    return data[0], data.camera("0")


@pytest.fixture
def good(photo, camera):
    """The files of a correct data set of one frame."""
    return {
        "images/0.png": photo(),
        "labels/0.png": IDS,
        "depth/0.png": kitti(METRES),
        "cameras.json": {".": camera},
    }


@pytest.mark.parametrize(("about", "message"), DESCRIPTIONS)
def test_wrong_entries_of_dataset_yaml_are_refused(about, message, write_folder, good):
    about = {"classes": CLASSES, **about}
    with pytest.raises(ValueError, match=message) as error:
        read(write_folder(good, **about))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("changes", "message"), FILES)
def test_wrong_files_are_refused(changes, message, write_folder, good):
    files = {"dataset.yaml": "classes: {0: a, 4: b, 9: c}", **good, **changes}
    root = write_folder({path: f for path, f in files.items() if f is not None})
    with pytest.raises(DataError, match=message) as error:
        read(root)
    assert str(root) in str(error.value)


def test_the_correct_data_set_is_read_and_a_missing_one_says_what_it_needs(
    write_folder, good, tmp_path
):
    sample, _ = read(write_folder(good, classes=CLASSES))
    assert sample.labelled and sample.measured
    with pytest.raises(DataError, match=re.escape(f"No file {tmp_path / 'x' / 'dataset.yaml'}")):
        FolderDataSet(tmp_path / "x", "train")
