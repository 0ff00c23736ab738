"""What cannot become a data set is one sentence; interrupted conversions continue."""

import json

import numpy as np
import pytest
from bag_messages import (
    CAMERA_FRAME,
    IMAGE,
    INFO,
    camera_info,
    camera_messages,
    cloud,
    picture,
    raw,
    transform,
    write_bag,
)

DEPTH = (np.full((48, 64), 2.0, "<f4"), "32FC1")


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def bag(tmp_path):
    return write_bag(tmp_path / "drive", camera_messages([i / 2 for i in range(12)]))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"rate": 0.0}, "--rate must be above 0 and at most 1000, but is 0.0"),
        ({"rate": float("nan")}, "--rate must be above 0"),
        ({"val": 1.5}, "--val must be from 0 to 1, but is 1.5"),
        ({"gap": -1.0}, "--gap must be at least 0"),
        ({"max_depth": 300.0}, "--max-depth must be above 0 and at most 255.99"),
        ({"max_time_difference": -0.1}, "--max-time-difference must be at least 0"),
        ({"image_format": "bmp"}, "--image-format must be jpg or png, but is bmp"),
        ({"unlabelled_above": 2.0}, "--unlabelled-above must be from 0 to 1"),
        (
            {"image": ["/rear"]},
            r"has no topic /rear; its topics: /front/camera_info \(sen",
        ),
        (
            {"image": [INFO]},
            r"is a sensor_msgs/msg/CameraInfo, not a .*: /front/image",
        ),
        (
            {"camera_info": [IMAGE]},
            "not a sensor_msgs/msg/CameraInfo; such topics: /front/c",
        ),
        ({"camera_info": ["none", "none"]}, "--camera-info must have one entry for each of the 1"),
        ({"depth": ["/points"]}, "has no topic /points"),
        (
            {"depth": [IMAGE]},
            "/front/image_raw holds no depth: .* supported: 32FC1, 16UC1, mono16",
        ),
        ({"depth": [INFO]}, "is a sensor_msgs/msg/CameraInfo, not a"),
        ({"depth": [IMAGE], "camera_info": ["none"]}, "needs its camera: give --camera-info"),
        ({"image": [IMAGE, IMAGE]}, "are one camera: give one of them"),
        ({"moments": True}, "holds no moments of record_uncertain"),
        ({"prefill": "missing.onnx"}, "there is no model file at missing.onnx"),
    ],
)
def test_wrong_options_are_refused_and_leave_nothing(make, tmp_path, bag, options, problem):
    with pytest.raises(ValueError, match=problem):
        make(bag, **options)
    assert not (tmp_path / "own").exists()


FIRST_IMAGE = (IMAGE, 0, raw(picture(), "rgb8"))
ALIGNED = ("/depth", 0, raw(*DEPTH, frame="depth_optical"))
ELSEWHERE = ("/tf_static", 0, transform(CAMERA_FRAME, "depth_optical", (0.1, 0, 0)))


@pytest.mark.parametrize(
    ("messages", "options", "problem"),
    [
        ([FIRST_IMAGE], {}, "has no /front/camera_info for /front/image_raw: give the topic or a"),
        (
            [(INFO, 0, camera_info(width=60)), FIRST_IMAGE],
            {},
            "does not fit /front/image_raw: camera_info is for a 60x48 image, but the image is 64",
        ),
        ([(INFO, 0, camera_info(focal=0)), FIRST_IMAGE], {}, "has no focal length"),
        ([(INFO, 0, camera_info())], {}, "has no topic that is surely a camera: choose with --im"),
        (
            [*camera_messages([0]), *camera_messages([0], "/rear/image", "/rear/camera_info")],
            {},
            r"has 2 cameras: choose with --image; its images: /front/image_raw \(.*, /rear/image",
        ),
        (
            [*camera_messages([0]), ("/points", 0, cloud([[1, 2, 3]]))],
            {"depth": ["/points"]},
            "/tf_static does not connect 'lidar' and 'camera_optical'",
        ),
        (
            [*camera_messages([0]), ("/depth", 0, raw(DEPTH[0][:, :50], "32FC1"))],
            {"depth": ["/depth"]},
            "depth images are 50x48, but images are 64x48, which has another aspect ratio",
        ),
        (
            [*camera_messages([0]), ALIGNED, ELSEWHERE],
            {"depth": ["/depth"]},
            "/depth is not aligned to /front/image_raw: its frame 'depth_optical' is elsewhere",
        ),
        (
            [(INFO, 0, camera_info()), (IMAGE, 0, raw(picture()[..., 0], "8SC1"))],
            {},
            "no image of /front/image_raw can be read: .*unsupported encoding",
        ),
    ],
)
def test_bags_without_what_is_needed_are_refused(make, tmp_path, messages, options, problem):
    with pytest.raises(ValueError, match=problem):
        make(write_bag(tmp_path / "drive", messages), **options)


def test_depth_in_an_unknown_frame_is_used_with_a_note(make, tmp_path):
    own = make(write_bag(tmp_path / "drive", [*camera_messages([0]), ALIGNED]), depth=["/depth"])
    assert len(own.names("depth")) == 1
    assert "'depth_optical', /front/image_raw in 'camera_optical': check that" in own.summary


def test_depth_that_was_not_asked_for_is_named(make, tmp_path):
    messages = [*camera_messages([0]), ("/points", 0, cloud([[1, 2, 3]]))]
    own = make(write_bag(tmp_path / "drive", messages))
    assert "has /points (--depth)" in own.summary


def test_a_short_bag_is_for_training_only(make, tmp_path):
    own = make(write_bag(tmp_path / "drive", camera_messages([0.0, 0.6])))
    assert own.seconds("train") == [0, 0.6]
    assert own.yaml()["splits"] == {"train": ["train/*"]}
    assert "is too short for a validation part and a gap of 1 s" in own.summary


def test_an_interrupted_conversion_continues_to_the_same_files(make, tmp_path, bag):
    def interrupt(done, total):
        assert total == 10
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(bag, report=interrupt)
    root = tmp_path / "own"
    assert not (root / "dataset.yaml").exists()
    with pytest.raises(ValueError, match=r"was written with --rate 2.0 \(now 3.0\)"):
        make(bag, rate=3.0)
    own = make(bag)
    assert "4 were there already" in own.summary
    continued = contents(root)
    root.rename(tmp_path / "first")
    make(bag)
    expected = contents(root)
    for files in (continued, expected):
        files.pop("bag_to_dataset.json")
    assert continued == expected


def test_a_complete_data_set_gets_more_frames_only_on_request(make, tmp_path, bag):
    make(bag)
    before = contents(tmp_path / "own")
    later = write_bag(tmp_path / "later", camera_messages([0.0]))
    with pytest.raises(ValueError, match=r"is a complete data set: .* or add .* with --resume"):
        make(later)
    assert contents(tmp_path / "own") == before
    written = tmp_path / "own/dataset.yaml"
    written.write_text(written.read_text() + "classes: {0: road}  # by hand\n")
    own = make(later, resume=True, license="CC0-1.0")
    assert own.yaml()["classes"] == {0: "road"}
    assert "# by hand" in written.read_text()
    assert set(own.cameras()) == {"train/front/drive", "val/front/drive", "train/front/later"}
    record = json.loads((tmp_path / "own/bag_to_dataset.json").read_text())
    assert record["bags"]["later"]["written"] == {"train": 1}
    assert set(record["bags"]) == {"drive", "later"}


def test_foreign_folders_are_not_written_to(make, tmp_path, bag):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and not of bag_to_dataset"):
        make(bag)


def test_two_bags_of_one_name_are_refused(make, tmp_path, bag):
    (tmp_path / "other").mkdir()
    other = write_bag(tmp_path / "other/drive", camera_messages([0.0]))
    with pytest.raises(ValueError, match=r"have the same name, .*: rename one"):
        make(bag, other)


def test_all_frames_of_moments_are_taken_but_not_of_one_that_is_being_recorded(make, tmp_path):
    for name, state in (("a", "whole"), ("b", "cut short: the recorder was stopped"), ("c", None)):
        bag = write_bag(tmp_path / "kept" / name, camera_messages([i / 20 for i in range(5)]))
        why = {"made_by": "record_uncertain", "state": state or "being recorded"}
        (bag / "why.json").write_text(json.dumps(why))
    own = make(tmp_path / "kept", moments=True, val=0.0)
    assert len(own.names()) == 10
    assert {name.split("/")[2] for name in own.names()} == {"a", "b"}
    assert "kept/c is left out: it is still being recorded" in own.summary
