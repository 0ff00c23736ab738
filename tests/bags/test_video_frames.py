"""Videos with covers, turned pictures and pixels that are not square."""

from fractions import Fraction

import numpy as np
import pytest

from emu_core.bags.errors import BagError
from emu_core.bags.video_frames import frame_count, read_video

av = pytest.importorskip("av", reason="videos need PyAV (pip install av)")

WIDTH, HEIGHT = 96, 64


def picture(level, width=WIDTH, height=HEIGHT):
    """Grey, with a white corner at the top left that is wider than high."""
    pixels = np.full((height, width, 3), level, np.uint8)
    pixels[: height // 4, : width // 3] = 250
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")


def film(container, frames=6, width=WIDTH, height=HEIGHT, codec="libx264", pixels="yuv420p"):
    """Add a stream; returns it and a function that writes its frames."""
    stream = container.add_stream(codec, rate=10)
    stream.width, stream.height, stream.pix_fmt = width, height, pixels

    def write():
        for index in range(frames):
            container.mux(stream.encode(picture(40 + 10 * index, width, height)))
        container.mux(stream.encode(None))

    return stream, write


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("size", [(32, 24), (320, 240)])
def test_a_cover_or_thumbnail_is_not_the_film(tmp_path, suffix, first, size):
    with av.open(str(tmp_path / f"drive.{suffix}"), "w") as container:

        def cover():
            return film(container, 1, *size, "mjpeg", "yuvj420p")

        def drive():
            return film(container)

        streams = [make() for make in ((cover, drive) if first else (drive, cover))]
        for _, write in streams:
            write()
    frames = list(read_video(tmp_path / f"drive.{suffix}"))
    assert len(frames) == 6 and {frame.bgr.shape for frame in frames} == {(HEIGHT, WIDTH, 3)}
    assert [frame.time_ns for frame in frames] == [100_000_000 * k for k in range(6)]
    assert frame_count(tmp_path / f"drive.{suffix}") in (6, None)


def test_of_two_films_the_larger_is_read(tmp_path):
    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        for _, write in [film(container, 6, 48, 32), film(container), film(container, 6, 48, 32)]:
            write()
    assert next(read_video(tmp_path / "two.mkv")).bgr.shape == (HEIGHT, WIDTH, 3)


def turned(matrix, array):
    """Where each pixel goes under a display matrix ((a, b), (c, d)), by its definition.

    (x, y) is shown at (a·x + c·y, b·x + d·y); the result is moved so that it begins at 0, 0.
    """
    (a, b), (c, d) = matrix
    height, width = array.shape[:2]
    y, x = np.mgrid[:height, :width]
    new_x, new_y = a * x + c * y, b * x + d * y
    new_x, new_y = new_x - new_x.min(), new_y - new_y.min()
    result = np.empty((new_y.max() + 1, new_x.max() + 1, *array.shape[2:]), array.dtype)
    result[new_y, new_x] = array
    return result


MATRICES = [((a, 0), (0, d)) for a in (1, -1) for d in (1, -1)]
MATRICES += [((0, b), (c, 0)) for b in (1, -1) for c in (1, -1)]


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("ratio", [None, Fraction(4, 3), Fraction(1, 2)])
def test_frames_are_turned_mirrored_and_stretched_as_players_show_them(tmp_path, matrix, ratio):
    with av.open(str(tmp_path / "phone.mp4"), "w") as container:
        stream, write = film(container, 2)
        if not hasattr(stream, "set_display_matrix"):
            pytest.skip("this PyAV writes no display matrix")
        (a, b), (c, d) = matrix
        one = 1 << 16
        stream.set_display_matrix([a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30])
        if ratio:
            stream.codec_context.sample_aspect_ratio = ratio
        write()
    frame = next(read_video(tmp_path / "phone.mp4"))
    stored = turned(matrix, picture(40).to_ndarray(format="bgr24"))
    assert frame.stored == stored.shape[1::-1]
    across = (ratio or Fraction(1)) if not matrix[0][1] else 1 / (ratio or Fraction(1))
    width, height = frame.bgr.shape[1::-1]
    assert width / height == pytest.approx(float(across) * frame.stored[0] / frame.stored[1])
    assert width >= frame.stored[0] and height >= frame.stored[1]
    columns = np.arange(width) * frame.stored[0] // width
    rows = np.arange(height) * frame.stored[1] // height
    difference = abs(frame.bgr.astype(int) - stored[rows][:, columns])
    assert np.mean(difference > 30) < 0.05  # edges only


def test_a_pointer_of_git_lfs_and_a_file_without_film_are_named(tmp_path):
    path = tmp_path / "drive.mp4"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(BagError, match=r"drive.mp4 is a Git LFS pointer"):
        next(read_video(path))
    with av.open(str(tmp_path / "sound.mka"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), "fltp", "mono")
        sound.rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(BagError, match=r"sound.mka has no video stream"):
        next(read_video(tmp_path / "sound.mka"))
