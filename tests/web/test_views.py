"""What the page shows, hides and keeps, without a browser and without Gradio."""

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from emu_core.data.sample import DataError
from emu_core.predict.command import predict
from emu_core.predict.lens import LensOptions
from emu_core.predict.sources import Picture
from emu_core.runtime.dummy_model import dummy_outputs
from emu_core.web import views as web_views
from emu_core.web.page import Page
from emu_core.web.views import VIEWS, views, write_cloud

HIDDEN = (40, 40, 44)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture
def prediction(perceiver, noise):
    return predict(perceiver, Picture("a", noise), LensOptions(focal=50))


def test_what_is_less_certain_is_hidden(prediction, noise):
    expected = dummy_outputs(noise)
    images = views(prediction, 0.7)
    assert tuple(images) == VIEWS
    uncertain = 1 - expected["label_uncertainty"] < 0.7
    assert 0 < uncertain.sum() < uncertain.size
    assert np.array_equal((images["Class uncertainty"] == HIDDEN).all(-1), uncertain)
    assert np.array_equal(images["Classes"][uncertain], noise[uncertain])
    with np.errstate(invalid="ignore"):
        depth, std = expected["depth"], expected["depth_std"]
        vague = np.isfinite(depth) & (1 - std / depth < 0.7)
    assert 0 < vague.sum() < vague.size
    for name in ("Depth", "Depth deviation"):
        assert np.array_equal((images[name] == HIDDEN).all(-1), vague), name


def test_views_have_the_shape_of_the_picture(perceiver):
    tall = predict(perceiver, Picture("a", np.zeros((80, 40, 3), np.uint8)), LensOptions())
    for image in views(tall, 0.0).values():
        assert image.shape[0] / image.shape[1] == pytest.approx(2, abs=0.05)


def read_gltf(path):
    """The scene, positions and colours of a binary glTF file, by its specification."""
    content = path.read_bytes()
    magic, version, size, length, kind = struct.unpack("<4sIII4s", content[:20])
    assert (magic, version, size, kind) == (b"glTF", 2, len(content), b"JSON")
    scene, body = json.loads(content[20 : 20 + length]), content[28 + length :]
    count = scene["accessors"][0]["count"]
    xyz = np.frombuffer(body, "<f4", 3 * count).reshape(-1, 3)
    return scene, xyz, np.frombuffer(body[12 * count :], "<u2").reshape(-1, 4)


def test_the_cloud_has_the_certain_points_with_y_up(tmp_path, prediction, monkeypatch):
    path = tmp_path / "points.glb"
    assert write_cloud(path, prediction, 0.5)
    scene, xyz, colors = read_gltf(path)
    points = prediction.points(0.5)
    points = points[points["z"] <= 50]
    assert len(xyz) == len(points) > 100
    for axis, (name, sign) in enumerate((("x", 1), ("y", -1), ("z", -1))):
        np.testing.assert_array_equal(xyz[:, axis], sign * points[name])
    assert scene["accessors"][0]["min"] == xyz.min(0).tolist()
    # Colours of glTF are linear: sRGB's 188 is half of the light, 64 is 5 %.
    light = dict(zip(points["red"].tolist(), (colors[:, 0] / 65535).tolist(), strict=True))
    assert light[188] == pytest.approx(0.503, abs=1e-3)
    assert light[64] == pytest.approx(0.0513, abs=1e-4)
    assert (colors[:, 3] == 65535).all()
    monkeypatch.setattr(web_views, "MAX_POINTS", 100)
    assert write_cloud(path, prediction, 0.5) and 50 <= len(read_gltf(path)[1]) <= 100
    assert not write_cloud(path, prediction, 1.1)  # nothing is left


def test_maps_that_a_model_lacks_are_not_shown(tmp_path, prediction):
    depth = replace(prediction.perception, labels=None, label_uncertainty=None, depth_std=None)
    images = views(replace(prediction, perception=depth), 0.9)
    assert [name for name, image in images.items() if image is not None] == ["Depth"]
    labels = replace(prediction.perception, depth=None, depth_std=None)
    classes = replace(prediction, perception=labels)
    images = views(classes, 0.9)
    assert [name for name, image in images.items() if image is not None] == list(VIEWS[:2])
    assert not write_cloud(tmp_path / "points.glb", classes, 0.0)


def test_each_visitor_has_one_cloud_whose_content_is_new_each_time(tmp_path, perceiver, street):
    page = Page(perceiver, tmp_path, 300)
    prediction = page.first(str(street), None, None)
    assert "scale of depth is a guess" in prediction.lens.text
    contents = set()
    for certainty in (0.0, 0.0, 0.1):
        contents.add(Path(page.cloud(prediction, certainty, "visitor")).read_bytes())
    assert len(contents) == 3  # equal ones would have one address, see `_gltf`
    assert [path.name for path in tmp_path.iterdir()] == ["visitor.glb"]
    assert page.cloud(None, 0.5, "visitor") is None


def test_a_field_of_view_is_used_and_no_file_is_no_prediction(tmp_path, perceiver, street):
    page = Page(perceiver, tmp_path, 300)
    assert "from the field of view of 60°" in page.first(str(street), None, 60.0).lens.text
    assert page.first(None, None, None) is None
    assert page.clip(None, None, None, "visitor") is None
    assert page.clip(str(street), None, 60.0, "visitor") is None


def test_a_clip_becomes_a_video(tmp_path, perceiver, noise):
    pytest.importorskip("av", reason="videos need PyAV (pip install av)")
    from emu_core.bags.video_frames import read_video
    from emu_core.bags.video_writer import VideoWriter

    clip = tmp_path / "clip.mp4"
    with VideoWriter(clip) as video:
        for k in range(5):
            video.write(noise, k / 10)
    page = Page(perceiver, tmp_path, 3)
    assert page.first(str(clip), None, 90.0).rgb.shape == noise.shape
    text, rows, path = page.clip(str(clip), None, 90.0, "visitor")
    assert "from the field of view of 90°" in text and "the first of 3 frames" in text
    assert rows[0][0] == "class" and len(rows) > 1
    assert [frame.time_ns / 1e9 for frame in read_video(Path(path))] == pytest.approx(
        [0, 0.1, 0.2], abs=1e-3
    )


def test_damaged_files_and_impossible_lenses_are_named(tmp_path, perceiver, street):
    page = Page(perceiver, tmp_path, 3)
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes()[:-9])
    with pytest.raises(DataError, match=r"^damaged.png is damaged"):
        page.first(str(damaged), None, None)
    with pytest.raises(ValueError, match="not both"):
        page.first(str(street), 100.0, 60.0)


def test_without_gradio_the_extra_is_named():
    blocked = (
        "import sys, importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'gradio' else find(name, *a);"
        "from emu_core.web.command import main; sys.exit(main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocked], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    expected = "web: the Python package gradio is missing: pip install 'emu_core[web]'\n"
    assert done.stderr == expected
