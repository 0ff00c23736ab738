"""Drives in files become bags, which rosbags alone reads back."""

import json
import signal
import struct
import sys
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs rosbags")

import cv2
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore
from ruamel.yaml import YAML

from emu_perception.bag_tools import drive_to_bag

STORE = get_typestore(Stores.ROS2_HUMBLE)
START_NS = 1_700_000_000 * 10**9
COMPRESSED, INFO = "/camera/image_raw/compressed", "/camera/camera_info"
CAMERA = {
    "intrinsic": {"fx": 2262.52, "fy": 2265.3, "u0": 1096.98, "v0": 513.137},
    "extrinsic": {"baseline": 0.209313},
}
CALIBRATION = """\
image_width: 64
image_height: 32
distortion_model: plumb_bob
camera_matrix: {rows: 3, cols: 3, data: [50, 0, 31.5, 0, 50, 15.5, 0, 0, 1]}
distortion_coefficients: {rows: 1, cols: 5, data: [-0.3, 0.1, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [45, 0, 31.5, 0, 0, 45, 15.5, 0, 0, 0, 1, 0]}
"""


def picture(index, size=(32, 64)):
    """A smooth BGR image that JPEG hardly changes; its brightness gives the index."""
    height, width = size
    ramp = np.linspace(0, 60, width)[None, :, None] + np.array([10, 30, 50])
    return np.rint(np.broadcast_to(ramp + 20 * index, (height, width, 3))).astype(np.uint8)


def folder_of(path, names):
    path.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        assert cv2.imwrite(str(path / name), picture(index))
    return path


def convert(*arguments):
    return drive_to_bag.main([str(argument) for argument in arguments])


def contents(bag):
    """Topic → (time, message) of all messages in a bag."""
    found = {}
    with Reader(bag) as reader:
        for connection, time_ns, data in reader.messages():
            message = STORE.deserialize_cdr(data, connection.msgtype)
            found.setdefault(connection.topic, []).append((time_ns, message))
    return found


def stamp_ns(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def decoded(message):
    return cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED)


def test_jpegs_are_stored_unchanged_in_natural_order(tmp_path, capsys):
    names = [f"frame_{number}.jpg" for number in (8, 9, 10, 11)]
    source = folder_of(tmp_path / "photos", names)
    (source / "notes.txt").write_text("not a photo")
    assert convert(source, tmp_path / "bag", "--rate", "4") == 0
    found = contents(tmp_path / "bag")
    assert list(found) == [COMPRESSED]
    images = found[COMPRESSED]
    assert [time for time, _ in images] == [START_NS + index * 250_000_000 for index in range(4)]
    for name, (time_ns, message) in zip(names, images, strict=True):
        assert stamp_ns(message) == time_ns and message.header.frame_id == "camera_optical"
        assert message.format == "bgr8; jpeg compressed bgr8"
        assert bytes(message.data) == (source / name).read_bytes()
    output = capsys.readouterr().err
    assert f"holds 4 frames of {COMPRESSED}" in output
    assert "0 of them have a camera_info" in output and "--fov" in output


def test_humble_and_jazzy_read_the_version_of_the_bag(tmp_path):
    assert convert(folder_of(tmp_path / "photos", ["a.png"]), tmp_path / "bag", "--fov", 90) == 0
    metadata = YAML(typ="safe").load((tmp_path / "bag" / "metadata.yaml").read_text())
    information = metadata["rosbag2_bagfile_information"]
    assert information["version"] == 8
    for topic in information["topics_with_message_count"]:
        (qos,) = YAML(typ="safe").load(topic["topic_metadata"]["offered_qos_profiles"])
        assert (qos["reliability"], qos["durability"], qos["history"]) == (1, 2, 1)


def test_raw_images_keep_every_pixel_of_colour_grey_and_transparent_files(tmp_path):
    source = folder_of(tmp_path / "photos", ["2.png"])
    grey = np.arange(32 * 64, dtype=np.uint8).reshape(32, 64)
    cv2.imwrite(str(source / "10.png"), grey)
    cv2.imwrite(str(source / "11.png"), np.dstack([picture(3), grey]))
    arguments = ("--compressed", "none", "--fov", 90, "--camera", "front/left", "--start", 5)
    assert convert(source, tmp_path / "bag", *arguments) == 0
    found = contents(tmp_path / "bag")
    images = found["/front/left/image_raw"]
    expected = [picture(0), np.dstack([grey] * 3), picture(3)]
    for (_, message), pixels in zip(images, expected, strict=True):
        assert (message.encoding, message.step, message.is_bigendian) == ("bgr8", 3 * 64, 0)
        assert np.array_equal(message.data.reshape(32, 64, 3), pixels)
        assert message.header.frame_id == "front_left_optical"
    assert images[0][0] == 5 * 10**9
    infos = found["/front/left/camera_info"]
    assert [stamp_ns(m) for _, m in infos] == [stamp_ns(m) for _, m in images]
    assert infos[0][1].k.tolist() == pytest.approx([32, 0, 31.5, 0, 32, 15.5, 0, 0, 1])


def test_png_bags_are_lossless(tmp_path):
    source = folder_of(tmp_path / "photos", ["0.png", "1.png"])
    assert convert(source, tmp_path / "bag", "--compressed", "png") == 0
    for index, (_, message) in enumerate(contents(tmp_path / "bag")[COMPRESSED]):
        assert message.format.startswith("bgr8; png")
        assert np.array_equal(decoded(message), picture(index))


def test_a_calibration_is_scaled_to_images_of_another_size(tmp_path, capsys):
    file = tmp_path / "front.yaml"
    file.write_text(CALIBRATION)
    source = folder_of(tmp_path / "photos", ["0.png"])
    cv2.imwrite(str(source / "1.png"), picture(1, (16, 32)))
    assert convert(source, tmp_path / "bag", "--camera-info", file) == 0
    assert "have a camera_info" not in capsys.readouterr().err
    full, half = (message for _, message in contents(tmp_path / "bag")[INFO])
    assert (full.width, full.height, full.distortion_model) == (64, 32, "plumb_bob")
    assert full.k.tolist() == [50, 0, 31.5, 0, 50, 15.5, 0, 0, 1]
    assert (half.width, half.height) == (32, 16)
    assert half.k.tolist() == [25, 0, 15.5, 0, 25, 7.5, 0, 0, 1]


def cityscapes(root, layout="leftImg8bit", cities=("lindau",)):
    for city in cities:
        names = [f"{city}_000003_{frame:06d}_leftImg8bit.png" for frame in (18, 19, 20, 21)]
        folder_of(root / layout / "val" / city, names)
        camera = root / "camera" / "val" / city / f"{city}_000003_000019_camera.json"
        camera.parent.mkdir(parents=True)
        camera.write_text(json.dumps(CAMERA))
    return root


@pytest.mark.parametrize("layout", ["leftImg8bit", "leftImg8bit_sequence"])
def test_a_sequence_of_cityscapes_uses_the_camera_of_its_labelled_frame(tmp_path, layout):
    root = cityscapes(tmp_path / "city", layout=layout)
    other = root / "camera" / "val" / "lindau" / "lindau_000003_000500_camera.json"
    other.write_text(json.dumps({**CAMERA, "intrinsic": {**CAMERA["intrinsic"], "fx": 1.0}}))
    assert convert(root, tmp_path / "bag", "--rate", "17") == 0
    found = contents(tmp_path / "bag")
    times = [time for time, _ in found[COMPRESSED]]
    assert times == [START_NS + round(index * 10**9 / 17) for index in range(4)]
    for index, (_, message) in enumerate(found[COMPRESSED]):
        assert np.abs(decoded(message).astype(int) - picture(index)).max() <= 4
    infos = [message for _, message in found[INFO]]
    assert len(infos) == 4
    for info in infos:  # 64 of 2048 columns
        assert (info.width, info.height) == (64, 32)
        assert info.k[0] == pytest.approx(2262.52 / 32)
        assert info.k[2] == pytest.approx(1097.48 / 32 - 0.5)


def test_one_of_several_cities_is_chosen_and_a_sequence_may_lack_its_camera(tmp_path, capsys):
    root = cityscapes(tmp_path / "city", cities=("lindau", "munster"))
    folder_of(root / "leftImg8bit" / "val" / "munster", ["munster_000004_000000_leftImg8bit.png"])
    assert convert(root, tmp_path / "bag") == 1
    assert "has more than one city; choose with --city: lindau, munster" in capsys.readouterr().err
    assert convert(root, tmp_path / "bag", "--split", "test") == 1
    assert "has no split 'test'; choose with --split: val" in capsys.readouterr().err
    (tmp_path / "empty" / "leftImg8bit").mkdir(parents=True)
    assert convert(tmp_path / "empty", tmp_path / "bag") == 1
    assert "leftImg8bit has no split folder" in capsys.readouterr().err
    assert convert(root, tmp_path / "bag", "--city", "munster") == 0
    found = contents(tmp_path / "bag")
    assert (len(found[COMPRESSED]), len(found[INFO])) == (5, 4)


def write_video(path, times_ms, rotation=0):
    """A video whose frames have these times; each has one grey level, 20 apart."""
    av = pytest.importorskip("av", reason="needs PyAV")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.options = {"crf": "5"}
        if rotation:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("this PyAV writes no display matrix")
            stream.set_display_rotation(rotation)
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, time_ms in enumerate(times_ms):
            pixels = np.full((32, 64, 3), 40 + 20 * index, np.uint8)
            pixels[:8, :16] = 240  # the corner at the top left
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_video_keeps_its_uneven_stamps(tmp_path):
    times_ms = [0, 33, 66, 200, 240, 1000]
    video = write_video(tmp_path / "dashcam.mp4", times_ms)
    assert convert(video, tmp_path / "bag", "--fov", "90") == 0
    found = contents(tmp_path / "bag")
    images = found[COMPRESSED]
    assert [(time - START_NS) / 1e6 for time, _ in images] == pytest.approx(times_ms, abs=0.6)
    levels = [decoded(message)[16:, 32:].mean() for _, message in images]
    assert levels == pytest.approx([40 + 20 * index for index in range(6)], abs=3)
    assert found[INFO][0][1].k[0] == pytest.approx(32)


def test_a_rotated_video_is_turned_upright(tmp_path):
    """Counterclockwise: the stored corner at the top left moves to the bottom left."""
    video = write_video(tmp_path / "phone.mp4", [0, 33], rotation=90)
    assert convert(video, tmp_path / "bag", "--compressed", "none") == 0
    (_, message), _ = contents(tmp_path / "bag")["/camera/image_raw"]
    pixels = message.data.reshape(64, 32, 3)
    assert pixels[-14:, :6].mean() > 220
    assert pixels[:30].mean() < 60 and pixels[:, 12:].mean() < 60


def with_orientation(jpeg, flag):
    """A JPEG whose EXIF has this orientation (CIPA DC-008, 4.6)."""
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, flag, 0, 0)
    segment = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@pytest.mark.parametrize("flag", range(1, 9))
def test_photos_are_turned_as_their_exif_asks_for(tmp_path, flag):
    (tmp_path / "photos").mkdir()
    smooth = cv2.GaussianBlur(picture(0), (0, 0), 5)
    jpeg = with_orientation(cv2.imencode(".jpg", smooth)[1].tobytes(), flag)
    file = tmp_path / "photos" / "a.jpg"
    file.write_bytes(jpeg)
    expected = cv2.imread(str(file), cv2.IMREAD_COLOR)  # OpenCV turns it
    assert convert(tmp_path / "photos", tmp_path / "bag", "--fov", "90") == 0
    found = contents(tmp_path / "bag")
    ((_, message),), ((_, info),) = found[COMPRESSED], found[INFO]
    assert np.abs(decoded(message).astype(int) - expected).max() <= 8
    assert (info.height, info.width) == expected.shape[:2]
    assert info.k[0] == pytest.approx(expected.shape[1] / 2)
    assert (bytes(message.data) == jpeg) == (flag == 1)


def test_hidden_files_are_no_images_and_others_are_named(tmp_path, capsys):
    source = folder_of(tmp_path / "photos", ["1.png", "2.png"])
    for name in ("._1.png", ".DS_Store", ".thumbnails.png"):
        (source / name).write_bytes(b"\0\5\x16\7")
    (source / "notes.txt").write_text("notes")
    assert convert(source, tmp_path / "bag") == 0
    assert len(contents(tmp_path / "bag")[COMPRESSED]) == 2
    assert "1 files of " in (error := capsys.readouterr().err) and "notes.txt" in error


def test_a_jpeg_without_its_end_marker_gets_one(tmp_path):
    (tmp_path / "photos").mkdir()
    jpeg = cv2.imencode(".jpg", picture(0))[1].tobytes()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpeg[:-2])
    assert convert(tmp_path / "photos", tmp_path / "bag") == 0
    ((_, message),) = contents(tmp_path / "bag")[COMPRESSED]
    assert bytes(message.data) == jpeg


def test_a_pointer_of_git_lfs_is_named_as_such(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (tmp_path / "photos" / "a.jpg").write_text(pointer)
    assert convert(tmp_path / "photos", tmp_path / "bag") == 1
    assert "a.jpg is a Git LFS pointer" in capsys.readouterr().err


def damaged(tmp_path):
    source = folder_of(tmp_path / "photos", ["0.jpg", "1.jpg"])
    (source / "2.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return [source]


def other_aspect_ratio(tmp_path):
    (tmp_path / "front.yaml").write_text(CALIBRATION)
    source = folder_of(tmp_path / "photos", ["0.png"])
    cv2.imwrite(str(source / "1.png"), picture(1, (48, 64)))
    return [source, "--camera-info", tmp_path / "front.yaml"]


def no_video(tmp_path):
    pytest.importorskip("av", reason="needs PyAV")
    (tmp_path / "drive.mp4").write_text("no video")
    return [tmp_path / "drive.mp4"]


def cut_camera(tmp_path):
    root = cityscapes(tmp_path / "city")
    next(root.glob("camera/val/lindau/*")).write_text("{}")
    return [root]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: [path / "nothing"], "no folder or file"),
        (lambda path: [path], "has no images"),
        (damaged, "2.jpg is damaged"),
        (other_aspect_ratio, "front.yaml does not fit"),
        (no_video, "drive.mp4 as a video"),
        (cut_camera, "camera.json"),
    ],
)
def test_a_user_error_is_reported_in_one_line_and_leaves_no_bag(tmp_path, capsys, make, message):
    source, *options = make(tmp_path)
    assert convert(source, tmp_path / "bag", *options) == 1
    error = capsys.readouterr().err
    assert error.startswith("drive_to_bag: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "bag").exists()


def test_an_existing_output_is_refused_and_not_changed(tmp_path, capsys):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "mine").write_text("keep")
    assert convert(folder_of(tmp_path / "photos", ["0.png"]), tmp_path / "bag") == 1
    assert "exists already and is not overwritten" in capsys.readouterr().err
    assert [entry.name for entry in (tmp_path / "bag").iterdir()] == ["mine"]


def test_a_video_without_pyav_is_refused_with_a_remedy(tmp_path, capsys, monkeypatch):
    (tmp_path / "drive.mp4").write_text("whatever")
    monkeypatch.setitem(sys.modules, "av", None)
    assert convert(tmp_path / "drive.mp4", tmp_path / "bag") == 1
    assert "pip install av" in capsys.readouterr().err
    assert not (tmp_path / "bag").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_bag(tmp_path, number):
    pytest.importorskip("rclpy", reason="the tests' helpers for processes need ROS 2")
    from helpers.ros_processes import ChildProcess, module, stopping, wait_until

    source = folder_of(tmp_path / "photos", ["0.png"])
    for index in range(1, 5_000):
        (source / f"{index}.png").symlink_to(source / "0.png")
    process = ChildProcess(*module("drive_to_bag", source, tmp_path / "bag"), domain=0)
    with stopping(process):
        wait_until((tmp_path / "bag").exists, "the bag's folder")
        process.process.send_signal(number)
        assert process.wait() == 1
    assert "interrupted: " in process.output and "Traceback" not in process.output
    assert not (tmp_path / "bag").exists()


@pytest.mark.parametrize(
    "wrong",
    ["--fov 180", "--rate 0", "--quality 101", "--camera 1st", "--fov 90 --camera-info a.yaml"],
)
def test_wrong_arguments_exit_with_2(tmp_path, wrong):
    with pytest.raises(SystemExit, match=r"^2$"):
        convert(tmp_path, tmp_path / "bag", *wrong.split())
