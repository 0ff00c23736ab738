"""Videos, decoded again."""

from fractions import Fraction

import numpy as np
import pytest

from emu_perception.demo.video import write_video

av = pytest.importorskip("av", reason="videos need PyAV (pip install av)")

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128), (250, 250, 250)]


def pictures(height=48, width=64):
    for color in COLORS:
        yield np.full((height, width, 3), color, np.uint8)


def decoded(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return stream.codec_context.name, stream.pix_fmt, stream.average_rate, frames


@pytest.mark.parametrize("as_text", [True, False])
def test_it_is_h264_of_a_kind_that_browsers_play_and_holds_every_picture(tmp_path, as_text):
    path = tmp_path / "video.mp4"
    assert write_video(str(path) if as_text else path, pictures(), 10) == len(COLORS)
    codec, pixels, rate, frames = decoded(path)
    assert codec == "h264"
    assert pixels == "yuv420p"
    assert rate == 10
    assert len(frames) == len(COLORS)
    for frame, color in zip(frames, COLORS, strict=True):
        assert frame.shape == (48, 64, 3)
        np.testing.assert_allclose(frame[4:-4, 4:-4].mean((0, 1)), color, atol=12)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(29.97, Fraction(2997, 100)), (0.5, Fraction(1, 2)), (12.5, Fraction(25, 2))],
)
def test_rates_need_not_be_whole(tmp_path, rate, expected):
    write_video(tmp_path / "video.mp4", pictures(), rate)
    assert float(decoded(tmp_path / "video.mp4")[2]) == pytest.approx(float(expected), rel=1e-3)


def test_left_is_left_and_up_is_up(tmp_path):
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48] = 255
    write_video(tmp_path / "video.mp4", [picture] * 3, 10)
    for frame in decoded(tmp_path / "video.mp4")[3]:
        quarters = (frame[4:28, 4:44], frame[4:28, 52:92], frame[36:60, 4:44], frame[36:60, 52:92])
        assert [round(quarter.mean() / 255) for quarter in quarters] == [1, 0, 0, 0]


def test_the_index_comes_first_so_that_a_browser_can_start_at_once(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, pictures(), 10)
    content = path.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_no_pictures_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no frames for the video .*video\.mp4"):
        write_video(tmp_path / "video.mp4", [], 10)
