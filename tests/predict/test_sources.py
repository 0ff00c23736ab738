"""Pictures as a person sees them; folders, videos and cameras."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from exif_files import with_exif

from emu_core.data.image_files import film_focal
from emu_core.data.sample import DataError
from emu_core.predict import sources
from emu_core.predict.sources import open_source, read_picture

GREY = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_are_scaled_grey_is_repeated_and_alpha_dropped(tmp_path, suffix, channels):
    deep = GREY if channels == 1 else np.dstack([GREY, GREY // 2, GREY // 3, GREY][:channels])
    path = tmp_path / f"deep{suffix}"
    assert cv2.imwrite(str(path), deep)
    rgb, film_mm = read_picture(path)
    bgr = np.dstack([GREY] * 3) if channels == 1 else deep[..., :3]
    assert np.array_equal(rgb[..., ::-1], np.round(bgr / 257).astype(np.uint8))
    assert film_mm is None


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize(("flag", "turns"), [(1, 0), (8, 1), (3, 2), (6, 3)])
def test_a_picture_is_upright_and_tells_its_focal_length(tmp_path, suffix, flag, turns):
    stored = np.full((48, 64, 3), 20, np.uint8)
    stored[:24, :32] = 240
    code = with_exif(cv2.imencode(suffix, stored)[1].tobytes(), orientation=flag, film_mm=26)
    path = tmp_path / f"phone{suffix}"
    path.write_bytes(code)
    rgb, film_mm = read_picture(path)
    assert film_mm == film_focal(code) == 26
    np.testing.assert_allclose(rgb, np.rot90(stored, turns), atol=12)  # counterclockwise


def test_pictures_that_cannot_be_used_are_refused_in_one_sentence(tmp_path, monkeypatch):
    def refused(content, name="a.jpg"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"^{path} (is|has) [^.]*[.] [A-Z][^.]*[.]$") as caught:
            read_picture(path)
        return str(caught.value)

    code = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    assert "is empty" in refused(b"")
    assert "its end is missing" in refused(code[:-40])
    # The thumbnail of a phone's JPEG is a whole JPEG before the pixels.
    thumbnail = b"Exif\0\0" + code
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    assert "its end is missing" in refused(code[:2] + segment + code[2:-40])
    (tmp_path / "whole.jpg").write_bytes(code[:2] + segment + code[2:])
    assert read_picture(tmp_path / "whole.jpg")[0].shape == (48, 64, 3)
    assert "OpenCV cannot decode it" in refused(b"no picture", "a.bmp")
    floats = cv2.imencode(".tiff", np.full((4, 4, 3), 0.5, np.float32))[1].tobytes()
    assert "pixels of float32" in refused(floats, "a.tiff")
    monkeypatch.setattr(sources, "MAX_PIXELS", 48 * 64 - 1)
    assert "64x48 pixels" in refused(code)


def test_a_folder_yields_all_pictures_and_names_the_damaged(tmp_path, write_image, noise):
    for name in ("a.png", "a.bmp", "frame_10.PNG", "frame_9.PNG", "sub/a.png"):
        write_image(tmp_path / name, noise)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    for name in (".hidden.png", "._a.png", "notes.txt", ".trash/a.png", "out/a.png/overlay.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no picture")
    source = open_source(str(tmp_path), tmp_path / "out")
    found = list(source.pictures)
    assert (source.clip, source.live, source.count) == (None, False, 6)
    names = [each.name for each in found if not isinstance(each, DataError)]
    assert names == ["a.bmp", "a.png", "frame_9.PNG", "frame_10.PNG", "sub/a.png"]
    (damaged,) = (str(each) for each in found if isinstance(each, DataError))
    assert damaged.startswith(f"{tmp_path / 'broken.jpg'} is damaged")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("empty", r"empty has no pictures \(\.jpg, .*\)\.$"),
        ("texts", r"texts has no pictures .*; it has other files, e\.g\. a\.heic\.$"),
        ("missing.jpg", "There is no picture, folder, video or camera .*missing.jpg"),
        ("same", "results cannot be written among the pictures"),
    ],
)
def test_nothing_to_predict_is_said(tmp_path, source, reason):
    for folder in ("empty", "texts", "same"):
        (tmp_path / folder).mkdir()
    (tmp_path / "texts" / "a.heic").write_bytes(b"1")
    output = tmp_path / ("same" if source == "same" else "out")
    with pytest.raises(DataError, match=reason):
        open_source(str(tmp_path / source), output)


def write_video(path, times_ms, rotation):
    """A video whose top left quarter is bright."""
    av = pytest.importorskip("av", reason="videos need PyAV (pip install av)")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if rotation:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("this PyAV writes no display matrix")
            stream.set_display_rotation(rotation)
        stream.codec_context.time_base = Fraction(1, 1000)
        for time_ms in times_ms:
            pixels = np.full((48, 64, 3), 20, np.uint8)
            pixels[:24, :32] = 240
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("rotation", [0, 90])
def test_a_video_is_upright_and_keeps_its_times(tmp_path, rotation):
    path = write_video(tmp_path / "phone.mp4", [0, 33, 200], rotation)
    source = open_source(str(path), tmp_path / "out")
    frames = list(source.pictures)
    assert (source.clip, source.count) == ("phone.mp4", 3)
    assert [frame.name for frame in frames] == [f"phone.mp4/{i:06d}" for i in range(3)]
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.033, 0.2], abs=1e-3)
    stored = np.full((48, 64), 20)
    stored[:24, :32] = 240
    upright = np.rot90(stored, rotation // 90)
    for frame in frames:
        assert frame.rgb.shape[:2] == upright.shape
        assert np.abs(frame.rgb.mean(2) - upright).mean() < 5
    path.write_bytes(path.read_bytes()[:200])
    (damaged,) = open_source(str(path), tmp_path / "out").pictures
    assert isinstance(damaged, DataError) and str(path) in str(damaged)


class Camera:
    """Stands for cv2.VideoCapture: two frames, then it is unplugged."""

    def __init__(self, number):
        self.opened, self.frames = number == 3, 2

    def isOpened(self):  # noqa: N802
        return self.opened

    def read(self):
        self.frames -= 1
        return self.frames >= 0, np.full((4, 6, 3), (200, 100, 50), np.uint8)

    def release(self):
        self.opened = False


def test_a_camera_yields_frames_until_it_is_unplugged(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    source = open_source("3", tmp_path)
    first, second, ended = source.pictures
    assert (source.clip, source.live, source.count) == ("camera3", True, None)
    assert first.rgb[0, 0].tolist() == [50, 100, 200] and first.time_s == 0 <= second.time_s
    assert second.name == "camera3/000001"
    assert str(ended) == "Camera 3 sends no more images after 2."
    with pytest.raises(DataError, match=r"^Camera 4 does not open\. Check "):
        open_source("4", tmp_path)
