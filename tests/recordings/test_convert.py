"""Bags become data sets of folders: images, depth and cameras at the right places."""

import struct

import cv2
import numpy as np
import pytest
import yaml
from bag_messages import (
    CAMERA_FRAME,
    FOCAL,
    HEIGHT,
    IMAGE,
    INFO,
    LIDAR_FRAME,
    WIDTH,
    camera_info,
    camera_messages,
    cloud,
    compressed,
    picture,
    raw,
    transform,
    write_bag,
)

from emu_core.labels import CITYSCAPES, ClassTable
from emu_core.runtime.dummy_model import dummy_outputs, make_dummy_model

DEPTH, POINTS = "/front/aligned_depth/image_raw", "/points"
FIRST = "train/front/drive/1700000000_000000000"
CAMERA = {"width": WIDTH, "height": HEIGHT, "fx": FOCAL, "fy": FOCAL, "cx": 31.5, "cy": 23.5}
BARREL = np.array([-0.2, 0.03, 0.001, -0.001, 0.0])


def plane(metres=2.0, height=HEIGHT, width=WIDTH):
    return np.full((height, width), metres, "<f4")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_an_rgb_d_bag_becomes_images_depth_cameras_and_splits(make, tmp_path, storage):
    times = [i / 10 for i in range(101)]
    depths = [(DEPTH, t + 0.01, raw(plane(1 + t), "32FC1", t + 0.01)) for t in times]
    messages = sorted([*camera_messages(times), *depths], key=lambda each: each[1])
    bag = write_bag(tmp_path / "drive", messages, storage)
    own = make(bag, depth=[DEPTH], image_format="png", max_depth=10.0, license="CC0-1.0")
    # 10 s: the last 2 s are for validation, the second before them is left out.
    assert own.seconds("train") == [i / 2 for i in range(14)]
    assert own.seconds("val") == [8, 8.5, 9, 9.5, 10]
    assert own.yaml() == {
        "name": "own",
        "depth": {"scale": 256, "limit": 10.0},
        "splits": {"train": ["train/*"], "val": ["val/*"]},
        "license": "CC0-1.0",
    }
    assert own.cameras() == {f"{split}/front/drive": CAMERA for split in ("train", "val")}
    assert not (own.root / "cameras").exists() and not (own.root / "labels").exists()
    names = own.names()
    # Beyond 9 s, the plane is farther than 10 m.
    assert own.names("depth") == names[:-3] + names[-3:-2]
    for name in own.names("depth"):
        seconds = int(name[-12:-10]) + int(name[-9:]) / 1e9
        np.testing.assert_array_equal(own.read("depth", name), round((1 + seconds) * 256))
        expected = picture(round(seconds * 10))
        np.testing.assert_array_equal(own.read("images", name)[..., ::-1], expected)
    assert "19 frames written from 1 bag (14 train, 5 val)" in own.summary
    assert "front: 64x48, fx 50.0 px, 65° wide, no distortion" in own.summary
    assert "left out: 2 in the gap between train and val" in own.summary


def test_a_jpeg_is_copied_byte_by_byte_if_the_lens_has_no_distortion(make, tmp_path):
    code = cv2.imencode(".jpg", picture(), [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes()
    image = compressed(code, "rgb8; jpeg compressed bgr8")
    messages = [(INFO, 0, camera_info()), (f"{IMAGE}/compressed", 0, image)]
    own = make(write_bag(tmp_path / "drive", messages))
    assert (own.root / f"images/{FIRST}.jpg").read_bytes() == code
    assert own.names("depth") == []
    assert "depth" not in own.yaml()


def test_a_copied_jpeg_has_an_end_and_no_orientation_that_its_truth_lacks(make, tmp_path):
    """Labels, depth and camera have the pixels as stored; tools would turn the image."""
    code = cv2.imencode(".jpg", picture())[1].tobytes()
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    image = compressed(code[:2] + exif + code[2:-2], "jpeg")
    messages = [(INFO, 0, camera_info()), (f"{IMAGE}/compressed", 0, image)]
    own = make(write_bag(tmp_path / "drive", messages))
    written = own.root / f"images/{FIRST}.jpg"
    stored = cv2.imdecode(np.frombuffer(code, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(cv2.imread(str(written)), stored)  # OpenCV would turn it
    assert written.read_bytes().endswith(b"\xff\xd9")


def test_what_is_not_read_is_named_in_the_summary(make, tmp_path):
    bag = write_bag(tmp_path / "drive", camera_messages([0.0]))
    (bag / "other.mcap").write_bytes((bag / "drive.mcap").read_bytes())
    own = make(bag)
    assert "other.mcap (metadata.yaml does not list it)" in own.summary


def test_distorted_images_are_rectified_and_their_depth_keeps_its_values(make, tmp_path):
    new = np.array([[45.0, 0, 30], [0, 47, 24], [0, 0, 1]])
    info = camera_info(d=BARREL, p=np.hstack([new, np.zeros((3, 1))]).ravel())
    rgb = cv2.GaussianBlur(picture(), (0, 0), 3)
    depth = np.where(np.arange(WIDTH) < 20, plane(2.0), plane(40.0))
    messages = [
        (INFO, 0, info),
        (IMAGE, 0, raw(rgb, "rgb8")),
        (DEPTH, 0, raw(depth, "32FC1")),
    ]
    own = make(write_bag(tmp_path / "drive", messages), depth=[DEPTH], image_format="png")
    expected = cv2.undistort(rgb, info.k.reshape(3, 3), BARREL, None, new)
    difference = np.abs(own.read("images", FIRST)[..., ::-1].astype(int) - expected)
    assert difference.max() <= 2
    code = own.read("depth", FIRST)
    assert set(np.unique(code)) <= {0, 2 * 256, 40 * 256}
    nearest = cv2.initUndistortRectifyMap(
        info.k.reshape(3, 3), BARREL, None, new, (WIDTH, HEIGHT), cv2.CV_32FC1
    )
    reference = cv2.remap(depth, *nearest, cv2.INTER_NEAREST) * 256
    assert (code == reference).mean() > 0.99
    numbers = {"fx": 45.0, "fy": 47.0, "cx": 30.0, "cy": 24.0}
    assert own.cameras() == {"train/front/drive": {**CAMERA, **numbers}}


def test_images_that_the_driver_rectified_get_the_numbers_of_p(make, tmp_path):
    p = [40.0, 0, 30, 0, 0, 41, 22, 0, 0, 0, 1, 0]
    code = cv2.imencode(".jpg", picture())[1].tobytes()
    topic = "/front/image_rect_color/compressed"
    messages = [
        (INFO, 0, camera_info(d=BARREL, p=np.array(p))),
        (topic, 0, compressed(code, "jpeg")),
    ]
    own = make(write_bag(tmp_path / "drive", messages))
    assert (own.root / f"images/{FIRST}.jpg").read_bytes() == code
    numbers = {"fx": 40.0, "fy": 41.0, "cx": 30.0, "cy": 22.0}
    assert own.cameras()["train/front/drive"] == {**CAMERA, **numbers}


def test_a_cloud_is_transformed_and_projected_into_the_image(make, tmp_path):
    # The lidar is 1 m to the right of the camera; its x is the camera's z, its y points left.
    messages = [
        ("/tf_static", 0, transform("base", CAMERA_FRAME)),
        ("/tf_static", 0, transform("base", LIDAR_FRAME, (1, 0, 0), (0.5, -0.5, 0.5, 0.5))),
        *camera_messages([0.0]),
        # In the camera: (1 - 1, 0, 10), (1 + 2, 1, 20), behind, and beyond the limit.
        (POINTS, 0.02, cloud([[10, 1, 0], [20, -2, -1], [-5, 0, 0], [90, 0, 0]], 0.02)),
    ]
    own = make(write_bag(tmp_path / "drive", messages), depth=[POINTS], max_depth=80.0)
    code = own.read("depth", FIRST)
    # u = 50·0/10 + 31.5 → 32, v = 23.5 → 24; u = 50·3/20 + 31.5 = 39, v = 50·1/20 + 23.5 = 26
    assert {tuple(at): code[tuple(at)] for at in np.argwhere(code)} == {
        (24, 32): 10 * 256,
        (26, 39): 20 * 256,
    }


def test_of_each_period_the_image_next_to_a_depth_is_taken(make, tmp_path):
    times = [i / 20 for i in range(40)]
    depths = [(DEPTH, t, raw(plane(), "32FC1", t)) for t in (0.21, 0.74, 1.9)]
    messages = sorted([*camera_messages(times), *depths], key=lambda each: each[1])
    bag = write_bag(tmp_path / "drive", messages)
    own = make(bag, depth=[DEPTH], val=0.0, max_time_difference=0.02)
    # Periods of half a second; the third one has no depth, and so gives its first image.
    assert own.seconds("train") == [0.2, 0.75, 1.0, 1.9]
    assert len(own.names("depth")) == 3
    assert "without depth: 1, no depth near in time" in own.summary


def test_messages_without_stamps_have_the_time_of_their_receipt(make, tmp_path):
    messages = [(INFO, 0, camera_info(None))]
    for time in (0.0, 1.0, 2.0):
        messages.append((IMAGE, time, raw(picture(), "rgb8", None)))
        messages.append((DEPTH, time, raw(plane(), "32FC1", time + 3)))
    own = make(write_bag(tmp_path / "drive", messages), depth=[DEPTH], val=1.0)
    assert own.seconds("val") == [0, 1, 2]
    assert len(own.names("depth")) == 3


def test_each_camera_has_a_folder_and_its_own_numbers(make, tmp_path):
    rear = camera_messages([0.0], "/rear/left/image", "/rear/left/camera_info", focal=70.0)
    bag = write_bag(tmp_path / "drive", [*camera_messages([0.0]), *rear])
    own = make(bag, image=[IMAGE, "/rear/left/image"])
    cameras = own.cameras()
    assert {name: entry["fx"] for name, entry in cameras.items()} == {
        "train/front/drive": 50,
        "train/rear_left/drive": 70,
    }
    assert own.names() == [f"{folder}/1700000000_000000000" for folder in sorted(cameras)]


def test_a_zoom_within_the_bag_gives_frames_their_own_cameras(make, tmp_path):
    messages = [*camera_messages([0.0, 1.0]), *camera_messages([2.0], focal=60.0)]
    own = make(write_bag(tmp_path / "drive", messages), val=0.0)
    assert own.cameras() == {"train/front/drive": CAMERA}
    (name,) = own.names("cameras")
    assert name == "train/front/drive/1700000002_000000000"
    assert f'"fx": {60.0}' in (own.root / f"cameras/{name}.json").read_text()


def test_without_a_camera_there_is_no_entry(make, tmp_path):
    bag = write_bag(tmp_path / "drive", [(IMAGE, 0, raw(picture(), "rgb8"))])
    own = make(bag, camera_info=["none"])
    assert own.names() == [FIRST]
    assert not (own.root / "cameras.json").exists()
    assert "camera unknown: teaches no metres" in own.summary


def test_damaged_images_and_depths_are_counted(make, tmp_path):
    messages = list(camera_messages([0.0, 1.0, 2.0]))
    messages[3][2].data = messages[3][2].data[:-1]
    messages += [(DEPTH, t, raw(plane(), "32FC1", t)) for t in (0.0, 1.0, 2.0)]
    messages[-1][2].step = 1
    own = make(write_bag(tmp_path / "drive", messages), depth=[DEPTH], val=0.0)
    assert own.seconds("train") == [0, 2]
    assert own.names("depth") == [FIRST]
    assert "left out: 1 with an unreadable image (data)" in own.summary
    assert "without depth: 1, image of 64x48 '32FC1', step 1" in own.summary


TOWN = ClassTable("town", ("ground", "tree", "sky"), (0, 1, 2), ((1, 2, 3),) * 3, sky=2)


@pytest.mark.parametrize(
    ("table", "maps_to"), [(CITYSCAPES, "cityscapes"), (TOWN, "classes.yaml")]
)
def test_certain_predictions_are_written_as_labels_on_request(make, tmp_path, table, maps_to):
    pytest.importorskip("onnx", reason="needs onnx, to make a model file")
    model = make_dummy_model(tmp_path / "dummy.onnx", (HEIGHT, WIDTH), classes=table)
    bag = write_bag(tmp_path / "drive", camera_messages([0.0, 1.0]))
    own = make(bag, val=0.0, prefill=str(model), unlabelled_above=0.5)
    assert own.names("labels") == own.names()
    expected = dummy_outputs(picture(), n_classes=len(table))
    certain = expected["label_uncertainty"] <= 0.5
    labels = own.read("labels", FIRST)
    np.testing.assert_array_equal(labels, np.where(certain, expected["labels"], 255))
    content = own.yaml()
    assert content["classes"] == {**dict(enumerate(table.names)), 255: "unlabelled"}
    assert content["mapping"] == {"unlabelled": "ignore"}
    assert content["maps_to"] == maps_to
    if table is TOWN:
        classes = yaml.safe_load((own.root / "classes.yaml").read_text())
        assert classes == {
            "name": "town",
            "classes": [{"name": name, "color": [1, 2, 3]} for name in TOWN.names],
            "sky": "sky",
        }


def test_what_the_lens_did_not_see_is_unlabelled(make, tmp_path):
    pytest.importorskip("onnx", reason="needs onnx, to make a model file")
    model = make_dummy_model(tmp_path / "dummy.onnx", (HEIGHT, WIDTH))
    wide = np.array([20.0, 0, 31.5, 0, 0, 20, 23.5, 0, 0, 0, 1, 0])
    messages = camera_messages([0.0], d=BARREL, p=wide)
    own = make(write_bag(tmp_path / "drive", messages), prefill=str(model), unlabelled_above=1.0)
    labels = own.read("labels", FIRST)
    assert (labels[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert labels[HEIGHT // 2, WIDTH // 2] != 255


def test_depth_of_a_turned_camera_is_measured_along_the_new_axis(make, tmp_path):
    # A wall at z = 10 in front of the camera; rectification turns the camera by 10° about y.
    angle = np.radians(10)
    rotation = np.array(
        [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]
    )
    messages = [
        (INFO, 0, camera_info(d=BARREL * 0.01, r=rotation.ravel())),
        (IMAGE, 0, raw(picture(), "rgb8")),
        (DEPTH, 0, raw(plane(10.0), "32FC1")),
    ]
    own = make(write_bag(tmp_path / "drive", messages), depth=[DEPTH])
    code = own.read("depth", FIRST)
    u = np.arange(WIDTH)
    # In the camera's frame a ray is Rᵀ·((u - cx)/f, y, 1); it meets the wall where its z is 10.
    z = -np.sin(angle) * (u - 31.5) / FOCAL + np.cos(angle)
    for v in (5, 24, 40):
        found = code[v] > 0
        assert found.mean() > 0.6
        np.testing.assert_allclose(code[v][found] / 256, (10 / z)[found], atol=1 / 256)
