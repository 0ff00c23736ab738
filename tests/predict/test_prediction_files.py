"""The files of one picture, read back with other tools than those that wrote them."""

import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from emu_core.data.sample import DataError
from emu_core.predict.command import predict
from emu_core.predict.lens import LensOptions
from emu_core.predict.outputs import to_png, write_prediction
from emu_core.predict.sources import Picture
from emu_core.predict.table import merge, survey
from emu_core.runtime.dummy_model import dummy_outputs

FILES = {
    *("overlay.png", "panel.png", "classes.png", "classes_color.png", "class_uncertainty.png"),
    *("depth.png", "depth_std.png", "depth.npy", "depth_std.npy"),
    *("points.ply", "camera.json", "seen.csv"),
}


@pytest.fixture
def prediction(perceiver, noise):
    return predict(perceiver, Picture("a.png", noise), LensOptions(focal=100))


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_the_maps_are_those_of_the_model_in_metres(tmp_path, prediction, noise):
    write_prediction(tmp_path, "a.png", prediction)
    expected = dummy_outputs(noise)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert np.array_equal(read(tmp_path / "classes.png"), expected["labels"])
    uncertainty = read(tmp_path / "class_uncertainty.png")
    np.testing.assert_allclose(uncertainty / 65535, expected["label_uncertainty"], atol=1e-5)
    for name in ("depth", "depth_std"):
        metres = np.load(tmp_path / f"{name}.npy")
        assert metres.dtype == np.float32
        np.testing.assert_allclose(metres, 2 * expected[name])  # 100 px are twice 50 px
        codes = read(tmp_path / f"{name}.png")
        known = np.isfinite(metres)
        assert codes.dtype == np.uint16 and known.any()
        np.testing.assert_allclose(codes[known] / 256, metres[known], atol=1 / 256)
        assert (codes[np.isnan(metres)] == 0).all() and (codes[np.isinf(metres)] == 65535).all()
    colors = prediction.table.colors()[expected["labels"]]
    assert np.array_equal(read(tmp_path / "classes_color.png")[..., ::-1], colors)
    camera = json.loads((tmp_path / "camera.json").read_text())
    assert camera == {"fx": 100, "fy": 100, "cx": 31.5, "cy": 23.5, "scale": "given"}


def test_16_bit_depth_saturates_as_documented():
    metres = np.float32([[0, 1e-4, 1.5, 255.99, 1000, np.inf, np.nan]])
    assert to_png(metres).tolist() == [[1, 1, 384, 65533, 65534, 65535, 0]]


def test_all_images_have_the_size_of_the_picture(tmp_path, perceiver):
    rgb = np.random.default_rng(1).integers(0, 256, (90, 70, 3), np.uint8)
    write_prediction(tmp_path, "a", predict(perceiver, Picture("a", rgb), LensOptions()))
    for name in FILES - {"panel.png"}:
        if name.endswith(".png"):
            assert read(tmp_path / name).shape[:2] == (90, 70), name
    assert np.load(tmp_path / "depth.npy").shape == (90, 70)


def read_ply(path):
    """Header lines and records of a PLY file, by its specification."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode().splitlines()
    types = {"float": "<f4", "uchar": "u1"}
    fields = [line.split()[1:] for line in lines if line.startswith("property")]
    return lines, np.frombuffer(body, [(name, types[kind]) for kind, name in fields])


def test_points_lie_on_the_rays_of_their_pixels(tmp_path, prediction, noise):
    write_prediction(tmp_path, "a.png", prediction, max_std_ratio=0.5)
    lines, points = read_ply(tmp_path / "points.ply")
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert f"element vertex {len(points)}" in lines
    expected = dummy_outputs(noise)
    metres = 2 * expected["depth"]
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(metres) & (2 * expected["depth_std"] <= 0.5 * metres)
    assert 0 < usable.sum() == len(points) < usable.size
    matrix = np.array([[100, 0, 31.5], [0, 100, 23.5], [0, 0, 1]])
    seen = np.stack([points[axis] for axis in "xyz"], -1) @ matrix.T
    v, u = np.nonzero(usable)
    np.testing.assert_allclose(seen[:, 0] / seen[:, 2], u, atol=1e-3)
    np.testing.assert_allclose(seen[:, 1] / seen[:, 2], v, atol=1e-3)
    np.testing.assert_allclose(points["z"], metres[usable])
    colors = np.stack([points[name] for name in ("red", "green", "blue")], -1)
    assert np.array_equal(colors, noise[usable])
    assert np.array_equal(points["label"], expected["labels"][usable])


def test_the_table_describes_each_class(tmp_path, perceiver):
    """The dummy's class is R // 16, its uncertainty G / 255, its depth B / 4, its std R / 8."""
    rgb = np.full((48, 64, 3), (0, 51, 40), np.uint8)
    rgb[:12] = (160, 255, 255)  # sky, class 10
    rgb[12:24, :, 2] = np.arange(64) + 1
    prediction = predict(perceiver, Picture("a", rgb), LensOptions(focal=50))
    write_prediction(tmp_path, "a", prediction)
    rows = list(csv.DictReader((tmp_path / "seen.csv").open()))
    road, sky = rows
    assert (road["picture"], road["class"], sky["class"]) == ("a", "road", "sky")
    assert (float(road["share"]), float(sky["share"])) == (0.75, 0.25)
    depths = sorted([10.0] * 24 * 64 + [b / 4 for b in range(1, 65)] * 12)
    assert float(road["median_depth_m"]) == 10
    assert float(road["nearest_depth_m"]) == pytest.approx(depths[len(depths) // 20], abs=0.25)
    assert float(road["mean_uncertainty"]) == pytest.approx(0.2)
    assert float(road["median_depth_std_m"]) == 0
    assert sky["median_depth_m"] == sky["nearest_depth_m"] == sky["median_depth_std_m"] == ""


def test_surveys_of_pictures_are_combined():
    nan = float("nan")
    first = {"car": {"share": 0.5, "median_depth_m": 8.0, "nearest_depth_m": 3.0}}
    second = {
        "sky": {"share": 0.8, "median_depth_m": nan, "nearest_depth_m": nan},
        "car": {"share": 0.1, "median_depth_m": 20.0, "nearest_depth_m": 2.0},
    }
    merged = merge([first, second])
    assert list(merged) == ["sky", "car"]
    car = {"share": 0.3, "median_depth_m": 14, "nearest_depth_m": 2}
    assert merged["car"] == pytest.approx(car)
    assert merged["sky"]["share"] == 0.4 and np.isnan(merged["sky"]["median_depth_m"])


@pytest.mark.parametrize(
    ("absent", "files"),
    [
        (
            {"labels": None, "label_uncertainty": None},
            {"overlay.png", "classes.png", "classes_color.png", "class_uncertainty.png"},
        ),
        (
            {"depth": None, "depth_std": None},
            {"depth.png", "depth.npy", "depth_std.png", "depth_std.npy", "points.ply"},
        ),
        ({"depth_std": None}, {"depth_std.png", "depth_std.npy"}),
    ],
)
def test_maps_that_a_model_lacks_have_no_files_and_no_columns(tmp_path, prediction, absent, files):
    write_prediction(tmp_path, "a.png", prediction)  # an earlier run with another model
    perception = replace(prediction.perception, **absent)
    seen = survey(perception, prediction.table)
    write_prediction(tmp_path, "a.png", replace(prediction, perception=perception, seen=seen))
    assert {path.name for path in tmp_path.iterdir()} == FILES - files
    (columns, *rows) = csv.reader((tmp_path / "seen.csv").open())
    assert ("mean_uncertainty" in columns) == ("labels" not in absent)
    assert ("nearest_depth_m" in columns) == ("depth" not in absent)
    assert "median_depth_std_m" not in columns or "labels" in absent
    if "labels" in absent:
        assert [row[1] for row in rows] == ["all"]


def test_a_file_in_the_place_of_the_results_is_named(tmp_path, prediction):
    (tmp_path / "a.png").write_bytes(b"the picture")
    with pytest.raises(DataError, match=r"results cannot be written into .*a\.png: it is a file"):
        write_prediction(tmp_path / "a.png", "a.png", prediction)
