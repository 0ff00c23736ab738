"""What is listed is what is opened: odd names, folders, hidden files, duplicates, orientation."""

import json
import shutil
import warnings

import cv2
import numpy as np
import pytest

from emu_core.data import image_files
from emu_core.data.cityscapes import Cityscapes, list_frames
from emu_core.data.drives import Drives
from emu_core.data.image_files import find_images, orientation
from emu_core.data.nyuv2 import NYUv2
from emu_core.data.sample import DataError, image_size, read_image

FOLDERS = ("leftImg8bit", "gtFine", "disparity", "camera")


@pytest.fixture
def write(tmp_path, write_frame):
    """Function that writes a frame of a grey value of its own into any folder of a split."""

    def call(folder, name, grey, end=".png"):
        write_frame(tmp_path / "new", "train", "x_0_0", np.full((24, 48, 3), grey, np.uint8))
        for kind in FOLDERS:
            (file,) = (tmp_path / "new" / kind / "train" / "x").iterdir()
            target = tmp_path / kind / "train" / folder / file.name.replace("x_0_0", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, target)
        image = tmp_path / "leftImg8bit" / "train" / folder / f"{name}_leftImg8bit.png"
        if end != ".png":
            pixels = cv2.imread(str(image))
            image.unlink()
            code = cv2.imencode(end.lower(), pixels)[1]
            image = image.with_suffix(end)
            image.write_bytes(code.tobytes())
        return image

    return call


@pytest.mark.parametrize(
    ("folder", "name", "listed", "sequence"),
    [
        ("aachen", "aachen_000001_000019", "aachen_000001_000019", "aachen_000001"),
        ("new_york", "new_york_000001_000002", "new_york_000001_000002", "new_york_000001"),
        ("day1", "front_000001_000002", "day1/front_000001_000002", "day1/front_000001"),
        ("day1", "000123", "day1/000123", "day1"),
        (
            "2026/day 1",
            "a.b_000001_000002",
            "2026/day 1/a.b_000001_000002",
            "2026/day 1/a.b_000001",
        ),
        ("", "000123", "000123", None),
    ],
)
@pytest.mark.parametrize("end", [".png", ".PNG", ".jpg", ".JPG", ".jpeg"])
def test_a_frame_of_any_folder_and_name_is_opened(
    write, tmp_path, folder, name, listed, sequence, end
):
    write(folder, name, 40, end)
    if end == ".PNG":  # the ground truth has capital letters, too
        for kind in FOLDERS[1:]:
            for path in [p for p in (tmp_path / kind).rglob("*") if p.is_file()]:
                path.rename(path.with_suffix(path.suffix.upper()))
    for kind in (Cityscapes, Drives):
        data = kind(tmp_path, "train")
        assert data.names == [listed]
        sample = data[0]
        assert abs(sample.image.astype(int) - 40).max() <= 1 and sample.name == listed
        assert np.isfinite(sample.depth).all() and (sample.labels == 0).all()
        assert data.sequence_of(listed) == (sequence or "")
        assert all(path.is_file() for path in data.files(listed))
        assert data.camera(listed).width == 48 and not data.has_unknown_object(listed)


def test_frames_of_one_name_in_two_folders_are_two_frames(write, tmp_path):
    for grey, folder in enumerate(("day1", "day2", "day1/extra")):
        write(folder, "000123", 10 * grey)
    write("new", "new_york_000001_000002", 50)
    write("new_york", "new_york_000001_000002", 60)
    data = Cityscapes(tmp_path, "train")
    found = {name: int(data.read(name).image[0, 0, 0]) for name in data.names}
    assert found == {
        "day1/000123": 0,
        "day2/000123": 10,
        "day1/extra/000123": 20,
        "new/new_york_000001_000002": 50,
        "new_york/new_york_000001_000002": 60,
    }
    assert data.names == sorted(data.names)


def test_hidden_files_and_folders_are_no_frames(write, tmp_path):
    image = write("aachen", "aachen_000001_000019", 40)
    for name in (
        f".~lock.{image.name}",
        f"._{image.name}",
        ".ipynb_checkpoints/x_leftImg8bit.png",
    ):
        (image.parent / name).parent.mkdir(exist_ok=True)
        (image.parent / name).write_bytes(b"no image")
    assert len(Cityscapes(tmp_path, "train")) == 1


def test_a_jpg_beside_a_png_is_one_frame_with_a_warning(write, tmp_path):
    image = write("aachen", "aachen_000001_000019", 40)
    for end, grey in ((".jpg", 90), (".PNG", 200)):
        pixels = np.full((24, 48, 3), grey, np.uint8)
        image.with_suffix(end).write_bytes(cv2.imencode(end.lower(), pixels)[1].tobytes())
    with pytest.warns(UserWarning, match=r"1 frames .* several images.*\.png files are read"):
        data = Cityscapes(tmp_path, "train")
    assert len(data) == 1 and data[0].image[0, 0, 0] == 40


def test_images_without_the_end_of_the_layout_are_counted(write, tmp_path):
    image = write("aachen", "aachen_000001_000019", 40)
    shutil.copy(image, image.with_name("IMG_0001.JPG"))
    with pytest.warns(UserWarning, match=r"1 images in .* are ignored, e\.g\. .*IMG_0001\.JPG"):
        assert len(list_frames(tmp_path, "train")) == 1
    image.unlink()
    with (
        pytest.warns(UserWarning, match="do not end with _leftImg8bit"),
        pytest.raises(DataError, match="No image in"),
    ):
        list_frames(tmp_path, "train")


def test_linked_folders_are_followed_but_not_in_a_circle(write, tmp_path):
    write("aachen", "aachen_000001_000019", 40)
    split = tmp_path / "leftImg8bit" / "train"
    (split / "aachen").rename(tmp_path / "elsewhere")
    (split / "aachen").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(split)
    assert list(find_images(split, "_leftImg8bit")) == ["aachen/aachen_000001_000019"]
    assert len(Cityscapes(tmp_path, "train")[0].image) == 24


def exif(flag, order):
    """A TIFF directory with a comment and an orientation, and its JPEG segment."""
    tiff = {"big": b"MM\0\x2a", "little": b"II\x2a\0"}[order] + (8).to_bytes(4, order)
    tiff += (2).to_bytes(2, order)
    turn = flag.to_bytes(2, order) + bytes(2)
    for tag, kind, count, value in ((0x010F, 2, 4, b"emu\0"), (0x0112, 3, 1, turn)):
        tiff += tag.to_bytes(2, order) + kind.to_bytes(2, order) + count.to_bytes(4, order) + value
    tiff += bytes(4)
    content = b"Exif\0\0" + tiff
    return b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content


@pytest.fixture
def turned(tmp_path):
    """A JPEG of 16 × 32 pixels, dark on its left half, that says that it lies on its side."""
    pixels = np.full((16, 32, 3), 200, np.uint8)
    pixels[:, :16] = 20
    code = cv2.imencode(".jpg", pixels)[1].tobytes()
    path = tmp_path / "turned.jpg"
    path.write_bytes(code[:2] + exif(6, "big") + code[2:])
    return path


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("flag", range(1, 9))
def test_the_orientation_is_read(flag, order):
    assert orientation(b"\xff\xd8" + exif(flag, order)) == flag
    assert orientation(b"\xff\xd8" + exif(0, order)) == 1
    for size in range(60):  # cut off anywhere
        assert orientation((b"\xff\xd8" + exif(6, order))[:size]) in (1, 6)


def test_an_image_is_read_as_stored_with_one_warning(turned, monkeypatch):
    monkeypatch.setattr(image_files, "_known_flags", set())
    assert cv2.imread(str(turned)).shape == (32, 16, 3)  # OpenCV itself rotates it
    with pytest.warns(UserWarning, match=r"turned\.jpg has the EXIF orientation 6.*as stored"):
        image = read_image(turned, cv2.IMREAD_COLOR)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grey = read_image(turned, cv2.IMREAD_UNCHANGED)
        assert image_size(turned) == (16, 32)
    assert image.shape == grey.shape == (16, 32, 3)
    assert image[:, :14].mean() < 30 and image[:, 18:].mean() > 190


def test_nyuv2_lists_what_it_opens(write_nyuv2_unpacked, tmp_path):
    for number in (1, 2):
        write_nyuv2_unpacked(tmp_path, "train", number)
    rgb = tmp_path / "train" / "rgb"
    (rgb / "0002.png").rename(rgb / "0002.PNG")
    (tmp_path / "train/depth/0002.png").rename(tmp_path / "train/depth/0002.PNG")
    (rgb / "._0001.png").write_bytes(json.dumps({}).encode())
    data = NYUv2(tmp_path, "train")
    assert data.names == ["0001", "0002"]
    assert np.isfinite(data[1].depth).all()


@pytest.mark.parametrize("progressive", [0, 1])
def test_the_size_of_a_jpeg_comes_from_its_header(tmp_path, progressive):
    image = np.random.default_rng(0).integers(0, 255, (37, 61, 3), np.uint8)
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])
    assert image_size(path) == (37, 61)
    for damaged in (b"\xff\xd8\xff\xe0\x00\x00" * 9, b"\xff\xd8\xff"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged"):
            image_size(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_truncated_image_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    content = path.read_bytes()
    path.write_bytes(content + b"\0\0")  # some programs pad files
    assert read_image(path, cv2.IMREAD_COLOR).shape == (64, 64, 3)
    for end in (len(content) // 2, len(content) - 4):
        path.write_bytes(content[:end])
        with pytest.raises(DataError, match="is damaged: its end is missing"):
            read_image(path, cv2.IMREAD_COLOR)
