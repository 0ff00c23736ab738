"""Videos, decoded again."""

import numpy as np
import pytest

from emu_core.bags.video_writer import VideoWriter, write_video

av = pytest.importorskip("av", reason="videos need PyAV (pip install av)")

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128), (250, 250, 250)]
PICTURES = [np.full((48, 64, 3), color, np.uint8) for color in COLORS]


def decoded(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return stream.codec_context.name, stream.pix_fmt, stream.average_rate, frames


def test_browsers_play_the_format_and_every_image_is_there(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, PICTURES, 10)
    codec, pixels, rate, frames = decoded(path)
    assert (codec, pixels, rate) == ("h264", "yuv420p", 10)
    for frame, color in zip(frames, COLORS, strict=True):
        assert frame.shape == (48, 64, 3)
        np.testing.assert_allclose(frame[4:-4, 4:-4].mean((0, 1)), color, atol=12)
    content = path.read_bytes()  # with the index first, a browser can start at once
    assert 0 < content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("rate", [29.97, 0.5, 12.5])
def test_images_are_not_flipped_and_rates_need_not_be_integers(tmp_path, rate):
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48] = 255
    write_video(str(tmp_path / "video.mp4"), [picture] * 3, rate)
    *_, written, frames = decoded(tmp_path / "video.mp4")
    assert float(written) == pytest.approx(rate, rel=1e-3)
    for frame in frames:
        quarters = (frame[4:28, 4:44], frame[4:28, 52:92], frame[36:60, 4:44], frame[36:60, 52:92])
        assert [round(quarter.mean() / 255) for quarter in quarters] == [1, 0, 0, 0]


def test_no_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no frames for the video .*video\.mp4"):
        write_video(tmp_path / "video.mp4", [], 10)


def test_images_keep_their_own_times_and_an_interrupted_file_is_complete(tmp_path):
    times = [0, 0.04, 1.5, 1.501]
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "video.mp4") as video:
        for picture, time_s in zip(PICTURES, times, strict=False):
            video.write(picture, time_s)
        raise KeyboardInterrupt
    with av.open(str(tmp_path / "video.mp4")) as container:
        found = [frame.time for frame in container.decode(video=0)]
    assert found == pytest.approx(times, abs=1e-4)
