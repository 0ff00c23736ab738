"""Image messages to arrays and back, compared with hand-made pixels, OpenCV and cv_bridge."""

import struct
import zlib
from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from emu_core.bags.images import MAX_PIXELS, UnsupportedImage, to_rgb
from emu_perception.messages.images import fill_image, fill_jpeg

RED_GREEN = [[[255, 0, 0], [0, 255, 0]]]
BYTES_PER_PIXEL = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "mono8": 1} | {
    f"bayer_{mosaic}8": 1 for mosaic in ("rggb", "bggr", "gbrg", "grbg")
}
BY_CV_BRIDGE = set(BYTES_PER_PIXEL) - {"8UC3", "bayer_grbg8"}  # those of its release on PyPI
YUV = {"yuv422": 2, "uyvy": 2, "yuv422_yuy2": 2, "yuyv": 2, "nv12": 1, "nv21": 1}


def raw(encoding, width, height, data, step=None, is_bigendian=0):
    """A stand-in with the fields of sensor_msgs/Image."""
    data = array("B", bytes(data))
    return SimpleNamespace(
        header="header",
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=is_bigendian,
        step=len(data) // max(1, height) if step is None else step,
        data=data,
    )


def compressed(data, form="jpeg"):
    """A stand-in with the fields of sensor_msgs/CompressedImage."""
    return SimpleNamespace(header="header", format=form, data=array("B", bytes(data)))


def encoded(extension, picture, *options):
    return cv2.imencode(extension, picture, options)[1].tobytes()


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(7).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def padded(rows, padding):
    """Rows of bytes with garbage behind each."""
    return np.hstack([rows, noise(len(rows), padding)])


def refusal(message):
    with pytest.raises(UnsupportedImage) as caught:
        to_rgb(message)
    return caught.value


@pytest.mark.parametrize(
    ("encoding", "pixels", "rgb"),
    [
        ("rgb8", [255, 0, 0, 0, 255, 0], RED_GREEN),
        ("bgr8", [0, 0, 255, 0, 255, 0], RED_GREEN),
        ("8UC3", [0, 0, 255, 0, 255, 0], RED_GREEN),
        ("rgba8", [255, 0, 0, 9, 0, 255, 0, 200], RED_GREEN),
        ("bgra8", [0, 0, 255, 9, 0, 255, 0, 200], RED_GREEN),
        ("mono8", [7, 200], [[[7] * 3, [200] * 3]]),
    ],
)
def test_two_pixels_have_their_colours(encoding, pixels, rgb):
    assert to_rgb(raw(encoding, 2, 1, pixels)).tolist() == rgb


@pytest.mark.parametrize(("is_bigendian", "order"), [(0, "<u2"), (1, ">u2")])
@pytest.mark.parametrize("padding", [0, 3, 6])
def test_mono16_is_divided_by_257_and_rounded_in_either_byte_order(is_bigendian, order, padding):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    rows = padded(values.astype(order).view(np.uint8), padding)
    gray = to_rgb(raw("mono16", 256, 256, rows, is_bigendian=is_bigendian))
    expected = (values.astype(int) + 128) // 257
    assert np.array_equal(gray, np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("mosaic", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_mosaic_of_one_colour_is_that_colour(mosaic):
    levels = {"r": 200, "g": 100, "b": 30}
    rows = [[levels[colour] for colour in row * 4] for row in (mosaic[:2], mosaic[2:]) * 4]
    rgb = to_rgb(raw(f"bayer_{mosaic}8", 8, 8, np.uint8(rows)))
    assert np.array_equal(rgb, np.full((8, 8, 3), (200, 100, 30)))


# Full red in ITU-R BT.601, studio range: Y = 16 + 65.481, U = 128 − 37.797, V = 128 + 112.
Y, U, V = 81, 90, 240


@pytest.mark.parametrize(
    ("encoding", "width", "height", "data"),
    [
        ("yuv422", 2, 1, [U, Y, V, Y]),
        ("uyvy", 2, 1, [U, Y, V, Y]),
        ("yuv422_yuy2", 2, 1, [Y, U, Y, V]),
        ("yuyv", 2, 1, [Y, U, Y, V]),
        ("nv12", 2, 2, [Y, Y, Y, Y, U, V]),
        ("nv21", 2, 2, [Y, Y, Y, Y, V, U]),
    ],
)
def test_red_in_yuv_is_red_within_rounding(encoding, width, height, data):
    step = {"nv12": width, "nv21": width}.get(encoding)
    rgb = to_rgb(raw(encoding, width, height, data, step=step)).astype(int)
    assert rgb.shape == (height, width, 3)
    assert np.abs(rgb - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("encoding", sorted(BY_CV_BRIDGE))
def test_cv_bridge_returns_the_same_bytes(encoding):
    cv_bridge = pytest.importorskip("cv_bridge", reason="cv_bridge is not installed here")
    if int(cv2.__version__.split(".")[0]) > 4:
        pytest.skip("cv_bridge works with OpenCV 4 only")
    from sensor_msgs.msg import Image

    message = Image(height=46, width=70, encoding=encoding)
    message.step = 70 * BYTES_PER_PIXEL[encoding]
    message.data.frombytes(noise(46 * message.step).tobytes())
    expected = cv_bridge.CvBridge().imgmsg_to_cv2(message, "rgb8")
    assert np.array_equal(to_rgb(message), expected)


@pytest.mark.parametrize(("encoding", "size"), (BYTES_PER_PIXEL | YUV).items())
@pytest.mark.parametrize(("padding", "is_bigendian"), [(1, 0), (2, 0), (13, 0), (0, 1)])
def test_padding_and_the_byte_order_of_bytes_change_nothing(encoding, size, padding, is_bigendian):
    rows = noise(15 if encoding.startswith("nv") else 10, 12 * size)
    step = 12 * size + padding
    message = raw(encoding, 12, 10, padded(rows, padding), step, is_bigendian)
    assert np.array_equal(to_rgb(message), to_rgb(raw(encoding, 12, 10, rows, 12 * size)))


@pytest.mark.parametrize("padding", [0, 5])
def test_rgb8_is_a_view_of_the_message(padding):
    message = raw("rgb8", 4, 3, padded(noise(3, 12), padding))
    seen = to_rgb(message)
    message.data[12 + padding] ^= 255  # first byte of the second row
    assert seen[1, 0, 0] == message.data[12 + padding]


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3)])
def test_a_jpeg_is_decoded_as_by_opencv(shape):
    data = encoded(".jpg", cv2.GaussianBlur(noise(*shape), (0, 0), 3))
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(to_rgb(compressed(data)), expected)


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
def test_a_png_keeps_every_pixel_but_loses_alpha(shape):
    picture = noise(*shape)
    expected = picture[..., 2::-1] if len(shape) == 3 else np.dstack([picture] * 3)
    assert np.array_equal(to_rgb(compressed(encoded(".png", picture))), expected)


def test_a_16_bit_png_of_mono16_is_divided_by_257_and_rounded():
    deep = noise(20, 30, dtype=np.uint16)
    expected = np.dstack([(deep.astype(int) + 128) // 257] * 3)
    message = compressed(encoded(".png", deep), "mono16; png compressed ")
    assert np.array_equal(to_rgb(message), expected)


@pytest.mark.parametrize(
    ("form", "picture"),
    [
        ("16UC1; png compressed ", noise(8, 9, dtype=np.uint16)),
        ("16UC1; compressedDepth png", noise(8, 9, dtype=np.uint16)),
        ("32FC1; compressedDepth", noise(8, 9, dtype=np.uint16)),
        ("bayer_rggb16; png compressed ", noise(8, 9, dtype=np.uint16)),
        ("bayer_grbg16; jpeg compressed ", noise(8, 9)),
        ("rgb16; png compressed bgr16", noise(8, 9, 3, dtype=np.uint16)),
        ("8UC1; png compressed ", noise(8, 9)),
        ("16SC1; png compressed ", noise(8, 9)),
        ("png", noise(8, 9, dtype=np.uint16)),
        ("", noise(8, 9, 3, dtype=np.uint16)),
    ],
)
def test_depth_and_16_bit_mosaics_are_no_cameras_compressed_or_not(form, picture):
    problem = refusal(compressed(encoded(".png", picture), form))
    assert problem.kind == "encoding" and repr(form) in str(problem)
    encoding = form.partition(";")[0]
    assert refusal(raw(encoding, 9, 8, picture.tobytes())).kind == "encoding"


@pytest.mark.parametrize(
    "form", ["", "png", "jpg", "rgb8; png compressed bgr8", "8UC3; png", "a;b"]
)
def test_other_names_of_formats_are_decoded(form):
    picture = noise(8, 9, 3)
    assert np.array_equal(to_rgb(compressed(encoded(".png", picture), form)), picture[..., ::-1])


def test_a_jpeg_without_its_end_marker_is_decoded():
    data = encoded(".jpg", cv2.GaussianBlur(noise(40, 60, 3), (0, 0), 3))
    assert np.array_equal(to_rgb(compressed(data[:-2])), to_rgb(compressed(data)))


def test_a_compressed_mosaic_gets_its_colours():
    rows = np.tile(np.uint8([[200, 100], [100, 30]]), (6, 6))
    message = compressed(encoded(".png", rows), "bayer_rggb8; png compressed ")
    assert np.array_equal(to_rgb(message), np.full((12, 12, 3), (200, 100, 30)))


def test_exif_orientation_is_ignored():
    picture = cv2.GaussianBlur(noise(16, 48, 3), (0, 0), 3)
    data = encoded(".jpg", picture)
    # One directory entry: tag 0x0112 (orientation), type short, one value, 6 (turn right).
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    rotated = cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR)
    assert rotated.shape == (48, 16, 3), "OpenCV reads the tag"
    assert np.array_equal(to_rgb(compressed(turned)), to_rgb(compressed(data)))


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_truncated_picture_and_a_flipped_bit_are_refused(extension):
    data = bytearray(encoded(extension, noise(64, 64, 3)))
    for kept in (0.1, 0.5, 0.9, 0.999):
        assert refusal(compressed(data[: int(len(data) * kept)])).kind == "damaged"
    data[len(data) // 2] ^= 1
    if extension == ".png":  # a JPEG has no checksum
        assert refusal(compressed(data)).kind == "damaged"


def test_a_png_with_a_wrong_chunk_length_is_refused_before_it_is_decoded(monkeypatch):
    """OpenCV allocates the length of a chunk: 2 GB for a flipped bit."""
    data = bytearray(encoded(".png", np.zeros((4, 4, 3), np.uint8)))
    data[data.index(b"IDAT") - 4] = 0x7F
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    assert refusal(compressed(data)).kind == "damaged"


@pytest.mark.parametrize("data", [b"", b"\xff", b"GIF89a" + bytes(50), bytes(12) + b"\x89PNG"])
def test_other_formats_are_refused(data):
    problem = refusal(compressed(data, "16UC1; compressedDepth png"))
    assert problem.kind == "codec"
    assert "JPEG" in str(problem) and "compressedDepth" in str(problem)


def test_a_small_file_with_gigabytes_of_pixels_is_refused_before_it_is_decoded():
    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    assert refusal(compressed(png)).kind == "too large"
    jpeg = bytearray(encoded(".jpg", noise(16, 16, 3)))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60000, 60000)
    assert refusal(compressed(jpeg)).kind == "too large"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("encoding", raw("32FC1", 2, 1, bytes(8))),
        ("encoding", raw("", 2, 1, bytes(6))),
        ("zero size", raw("rgb8", 0, 4, b"")),
        ("zero size", raw("mono8", 4, 0, b"")),
        ("step", raw("rgb8", 4, 1, bytes(12), step=11)),
        ("data", raw("rgb8", 4, 2, bytes(23), step=12)),
        ("data", raw("mono8", 2, 2, b"", step=2)),
        ("data", raw("nv12", 4, 4, bytes(23), step=4)),
        ("data", raw("mono8", 1, 1, b"0", step=2**32 - 1)),
        ("odd size", raw("yuv422", 3, 2, bytes(12), step=6)),
        ("odd size", raw("nv21", 4, 3, bytes(20), step=4)),
        ("odd size", raw("nv12", 3, 4, bytes(20), step=3)),
        ("too large", raw("mono8", 2**32 - 1, 2**32 - 1, b"0", step=2**32 - 1)),
        ("too large", raw("rgb8", MAX_PIXELS, 2, b"0", step=3 * MAX_PIXELS)),
    ],
)
def test_an_inconsistent_message_is_refused(kind, message):
    assert refusal(message).kind == kind


def test_a_refusal_describes_the_image_and_the_supported_encodings():
    text = str(refusal(raw("32FC1", 640, 480, bytes(8), step=2560)))
    assert "640x480" in text and "'32FC1'" in text and "2560" in text and "8 bytes" in text
    assert "bayer_grbg8" in text and "nv12" in text


@pytest.mark.parametrize(
    ("encoding", "picture"),
    [
        ("mono8", noise(5, 7)),
        ("bgr8", noise(5, 7, 3)),
        ("32FC1", noise(5, 7).astype(np.float32) / 3),
        ("mono8", noise(10, 21)[::2, ::3]),
    ],
)
def test_an_outgoing_image_contains_the_array_without_padding(encoding, picture):
    message = raw("rgb8", 1, 1, b"old")
    assert fill_image(message, picture, encoding, "front") is message
    assert (message.width, message.height, message.encoding) == (7, 5, encoding)
    assert message.step == 7 * {"mono8": 1, "bgr8": 3, "32FC1": 4}[encoding]
    assert message.header == "front" and message.is_bigendian == 0
    assert bytes(message.data) == picture.tobytes()


@pytest.mark.parametrize(
    ("encoding", "picture"),
    [
        ("mono8", noise(2, 2, 3)),
        ("mono8", noise(2, 2).astype(np.float32)),
        ("32FC1", np.zeros((2, 2))),
        ("bgr8", noise(2, 2, 4)),
        ("mono8", np.zeros((0, 3), np.uint8)),
        ("rgb16", noise(2, 2, 3)),
    ],
)
def test_an_array_of_another_type_than_the_encoding_is_an_error(encoding, picture):
    with pytest.raises(ValueError, match=encoding):
        fill_image(raw("", 1, 1, b""), picture, encoding, "")


def test_an_outgoing_jpeg_decodes_to_nearly_the_same_image():
    picture = cv2.GaussianBlur(noise(40, 60, 3), (0, 0), 4)
    message = fill_jpeg(compressed(b"old", ""), picture, 95, "front")
    assert message.header == "front" and "jpeg" in message.format
    difference = to_rgb(message).astype(int) - picture[..., ::-1]
    assert np.abs(difference).mean() < 2
