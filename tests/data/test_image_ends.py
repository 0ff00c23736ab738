"""JPEGs without their end marker, and JPEGs that lack more."""

import cv2
import numpy as np
import pytest

from emu_core.data.image_files import is_complete, orientation, with_end, without_orientation
from emu_core.data.sample import read_image

SMOOTH = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8), (0, 0), 3
)
NOISE = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
PICTURES = {"smooth": SMOOTH, "noise": NOISE, "grey": SMOOTH[..., 0], "flat": NOISE * 0 + 77}
OPTIONS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 1],
    "fine": [cv2.IMWRITE_JPEG_QUALITY, 100],
}


@pytest.fixture(params=PICTURES)
def picture(request):
    return PICTURES[request.param]


@pytest.fixture(params=OPTIONS)
def jpeg(request, picture):
    return cv2.imencode(".jpg", picture, OPTIONS[request.param])[1].tobytes()


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_may_lack_its_end_marker(jpeg, missing, tmp_path, capfd):
    (tmp_path / "a.jpg").write_bytes(jpeg[:-missing])
    assert is_complete(jpeg[:-missing])
    assert np.array_equal(read_image(tmp_path / "a.jpg", cv2.IMREAD_UNCHANGED), decoded(jpeg))
    assert with_end(jpeg[:-missing]) == jpeg == with_end(jpeg)
    capfd.readouterr()  # libjpeg's warnings


def test_a_jpeg_that_lacks_a_pixel_is_not_complete(jpeg, capfd):
    """Decoding tells: where the decoder fills in rows, the pixels differ."""
    expected = decoded(jpeg)
    for lost in [*range(3, 9), *range(20, len(jpeg) - 620, 97)]:
        if not np.array_equal(decoded(jpeg[:-lost].rstrip(b"\xff") + b"\xff\xd9"), expected):
            assert not is_complete(jpeg[:-lost]), lost
    capfd.readouterr()


def test_damaged_headers_are_no_complete_images(capfd):
    """A few are: a flipped bit can make an image so small that its pixels are all there."""
    data = cv2.imencode(".jpg", SMOOTH)[1].tobytes()[:-2]
    rng = np.random.default_rng(3)
    complete = 0
    for _ in range(200):
        damaged = bytearray(data[: int(rng.integers(20, 700))])
        damaged[int(rng.integers(2, len(damaged)))] = int(rng.integers(256))
        complete += is_complete(bytes(damaged))
    assert complete < 5
    capfd.readouterr()


@pytest.mark.parametrize("length", [3, 10, 100, 400])
def test_a_jpeg_without_pixels_is_not_complete(length, capfd):
    header = cv2.imencode(".jpg", SMOOTH)[1].tobytes()[:length]
    assert not is_complete(header)
    capfd.readouterr()


def test_the_end_of_a_thumbnail_is_not_the_end(capfd):
    """EXIF holds a small JPEG of its own."""
    data = cv2.imencode(".jpg", SMOOTH)[1].tobytes()
    small = b"Exif\0\0" + cv2.imencode(".jpg", SMOOTH[::8, ::8])[1].tobytes()
    tagged = data[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + data[2:]
    assert is_complete(tagged) and is_complete(tagged[:-2])
    assert not is_complete(tagged[:-60])
    capfd.readouterr()


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("flag", range(1, 9))
def test_the_orientation_is_removed_without_changing_a_pixel(flag, order):
    mark = {"big": b"MM\0\x2a", "little": b"II\x2a\0"}[order]
    numbers = ((8, 4), (1, 2), (0x0112, 2), (3, 2), (1, 4), (flag, 2), (0, 2), (0, 4))
    exif = b"Exif\0\0" + mark + b"".join(n.to_bytes(size, order) for n, size in numbers)
    data = cv2.imencode(".jpg", SMOOTH)[1].tobytes()
    tagged = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    assert orientation(tagged) == flag
    upright = without_orientation(tagged)
    assert orientation(upright) == 1 and len(upright) == len(tagged)
    assert np.array_equal(cv2.imdecode(np.frombuffer(upright, np.uint8), 1), decoded(data))
