"""Cityscapes' layout against official files and the official disparity formula."""

import json

import cv2
import numpy as np
import pytest

from emu_core.data.cityscapes import (
    MAX_DEPTH,
    Cityscapes,
    decode_disparity,
    encode_disparity,
    list_frames,
)
from emu_core.data.datasets import PinholeCamera
from emu_core.data.sample import DataError
from emu_core.labels import IGNORE

FX, FY, BASELINE = 2262.52, 2265.3017905988554, 0.209313
AACHEN = {
    "extrinsic": {"baseline": BASELINE},
    "intrinsic": {"fx": FX, "fy": FY, "u0": 1096.98, "v0": 513.137},
}
NAME = "aachen_000000_000019"
FILES = {
    "leftImg8bit": f"leftImg8bit/train/aachen/{NAME}_leftImg8bit.png",
    "gtFine": f"gtFine/train/aachen/{NAME}_gtFine_labelIds.png",
    "disparity": f"disparity/train/aachen/{NAME}_disparity.png",
    "camera": f"camera/train/aachen/{NAME}_camera.json",
}


def official_depth(raw, focal=FX, baseline=BASELINE):
    """cityscapesscripts' README: d = (p − 1)/256 for p > 0; depth = baseline·focal/d."""
    return baseline * focal / ((raw.astype(np.float64) - 1) / 256)


def test_disparity_decodes_as_the_official_readme_says():
    raw = np.arange(1600, 65536, dtype=np.uint16).reshape(-1, 16)
    depth = decode_disparity(raw, FX, BASELINE)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, official_depth(raw), rtol=1e-6)
    assert 1.8 < depth.min() < 1.9  # 0.209313 · 2262.52 · 256 / 65534
    assert 75 < depth.max() < 76


def test_values_0_and_1_are_invalid_and_2_is_121_km():
    raw = np.array([0, 1, 2, 2000], np.uint16)
    depth = decode_disparity(raw, FX, BASELINE, np.inf)
    assert np.isnan(depth).tolist() == [True, True, False, False]
    assert depth[2] == pytest.approx(121_235, abs=1)


@pytest.mark.parametrize("limit", [MAX_DEPTH, 30.0])
def test_depth_is_valid_up_to_the_limit(limit):
    raw = np.arange(2, 65536, dtype=np.uint16)
    depth = decode_disparity(raw, FX, BASELINE, limit)
    np.testing.assert_array_equal(np.isfinite(depth), official_depth(raw) <= limit)
    assert limit - 0.1 < np.nanmax(depth) <= limit


def test_decoded_values_encode_to_themselves():
    raw = np.arange(1600, 65536, dtype=np.uint16)
    back = encode_disparity(decode_disparity(raw, FX, BASELINE), FX, BASELINE)
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back, raw)


def test_encoding_changes_depth_by_at_most_half_a_value():
    depth = np.random.default_rng(0).uniform(2, 79, (64, 64))
    back = decode_disparity(encode_disparity(depth, FX, BASELINE), FX, BASELINE)
    inverse = np.abs(1 / back - 1 / depth) * FX * BASELINE * 256
    assert 0.4 < inverse.max() < 0.51


def test_missing_depth_encodes_as_invalid_and_very_near_depth_saturates():
    depth = np.array([np.nan, np.inf, -np.inf, 0.0, -3.0, 1e9, 0.01])
    raw = encode_disparity(depth, FX, BASELINE)
    assert raw.tolist() == [0, 0, 0, 0, 0, 1, 65535]
    assert np.isnan(decode_disparity(raw[:-1], FX, BASELINE)).all()


def test_a_sample_holds_the_content_of_its_files(tmp_path, write_frame):
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (24, 48, 3), np.uint8)
    ids = rng.choice(np.array([0, 1, 3, 7, 11, 23, 26, 33], np.uint8), (24, 48))
    raw = rng.integers(0, 65536, (24, 48)).astype(np.uint16)
    write_frame(tmp_path, "train", NAME, rgb, ids, raw)
    sample = Cityscapes(tmp_path, "train")[0]
    assert sample.name == NAME
    np.testing.assert_array_equal(sample.image, rgb)
    train_ids = {7: 0, 11: 2, 23: 10, 26: 13, 33: 18}
    np.testing.assert_array_equal(
        sample.labels, np.vectorize(lambda i: train_ids.get(i, IGNORE))(ids)
    )
    with np.errstate(divide="ignore"):
        expected = official_depth(raw)
    expected[(raw < 2) | (expected > 80)] = np.nan
    np.testing.assert_allclose(sample.depth, expected, rtol=1e-6)
    assert sample.focal == pytest.approx((FX * 48 / 2048, FY * 24 / 1024))
    dtypes = (sample.image.dtype, sample.labels.dtype, sample.depth.dtype)
    assert dtypes == (np.uint8, np.uint8, np.float32)


@pytest.mark.parametrize("size", [(1024, 2048), (512, 1024), (24, 48)])
def test_resized_images_keep_their_depth_and_have_shorter_focal_lengths(
    tmp_path, write_frame, size
):
    # Official files are 1024 × 2048 and give fx = 2262.52 for exactly that size. Disparity counts
    # pixels of that size too, so it is decoded without rescaling.
    write_frame(tmp_path, "train", NAME, size=size)
    data = Cityscapes(tmp_path, "train")
    np.testing.assert_allclose(data[0].depth, BASELINE * FX / (3999 / 256), rtol=1e-6)
    assert data[0].focal == pytest.approx((FX * size[1] / 2048, FY * size[0] / 1024))
    assert data.camera(NAME) == PinholeCamera(*data[0].focal, size[1], size[0])


def test_the_camera_is_known_without_decoding_a_png(tmp_path, write_frame):
    write_frame(tmp_path, "train", NAME)
    data = Cityscapes(tmp_path, "train")
    expected = data.camera(NAME)
    path = tmp_path / FILES["leftImg8bit"]
    header = path.read_bytes()[:24]
    _, jpeg = cv2.imencode(".jpg", np.zeros((24, 48, 3), np.uint8))
    for content in (header + b"damaged", jpeg.tobytes()):  # OpenCV goes by the content
        path.write_bytes(content)
        assert data.camera(NAME) == expected
    for content in (header[:20], b"\x89PNG", header[:16] + bytes(8)):
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            data.camera(NAME)
    assert expected.horizontal_fov == pytest.approx(48.7, abs=0.1)
    assert expected.relative_focal == pytest.approx(np.sqrt(FX * FY) / 2048)


def with_centre(u0):
    return {**AACHEN, "intrinsic": {**AACHEN["intrinsic"], "u0": u0}}


@pytest.mark.parametrize(
    ("size", "u0"),
    [((24, 48), 23.5), ((30, 48), 21.0), ((512, 1024), 511.5), ((768, 2048), 1096.98)],
)
def test_a_camera_file_of_the_image_itself_is_not_rescaled(tmp_path, write_frame, size, u0):
    write_frame(tmp_path, "train", NAME, camera=with_centre(u0), size=size)
    assert Cityscapes(tmp_path, "train")[0].focal == (FX, FY)


@pytest.mark.parametrize("size", [(768, 768), (512, 2000), (24, 40)])
@pytest.mark.parametrize("u0", [200.0, 2000.0, float("nan")])
def test_a_camera_file_for_another_image_is_refused(tmp_path, write_frame, refused, size, u0):
    write_frame(tmp_path, "train", NAME, camera=with_centre(u0), size=size)
    refused("camera", f"near the centre neither of the image, {size[1]}×")


def test_frames_without_ground_truth_are_only_images(tmp_path, write_frame):
    rgb = np.random.default_rng(1).integers(0, 256, (24, 48, 3), np.uint8)
    write_frame(tmp_path, "train", NAME, rgb)
    for folder in ("gtFine", "disparity"):
        (tmp_path / FILES[folder]).unlink()
    data = Cityscapes(tmp_path, "train", labelled=False)
    sample = data[0]
    assert data.names == [sample.name] == [NAME]
    assert data.files(NAME) == [tmp_path / FILES[folder] for folder in ("leftImg8bit", "camera")]
    np.testing.assert_array_equal(sample.image, rgb)
    assert (sample.labels == IGNORE).all()
    assert np.isnan(sample.depth).all()
    assert (sample.labels.dtype, sample.depth.dtype) == (np.uint8, np.float32)
    assert sample.labels.shape == sample.depth.shape == (24, 48)
    assert sample.focal == pytest.approx((FX * 48 / 2048, FY * 24 / 1024))
    with pytest.raises(DataError, match=r"No file .*gtFine_labelIds\.png"):
        Cityscapes(tmp_path, "train")[0]


def test_depth_beyond_the_limit_of_the_data_set_is_invalid(tmp_path, write_frame):
    write_frame(tmp_path, "train", NAME)  # 30.3 m everywhere
    assert np.isfinite(Cityscapes(tmp_path, "train", 31.0)[0].depth).all()
    assert np.isnan(Cityscapes(tmp_path, "train", 30.0)[0].depth).all()


def test_frames_of_all_cities_are_sorted_and_other_files_ignored(tmp_path, write_frame):
    names = ["ulm_000001_000019", "aachen_000001_000019", NAME, "bochum_000000_016125"]
    for name in names:
        write_frame(tmp_path, "train", name)
    write_frame(tmp_path, "val", "frankfurt_000000_000294")
    (tmp_path / "leftImg8bit/train/aachen/notes.txt").write_text("not a frame")
    data = Cityscapes(tmp_path, "train")
    assert data.names == [data[i].name for i in range(4)] == sorted(names)
    assert len(Cityscapes(tmp_path, "val")) == 1


def test_a_missing_split_is_reported_with_its_archive_and_the_splits_that_exist(
    tmp_path, write_frame
):
    write_frame(tmp_path, "train", NAME)
    (tmp_path / "leftImg8bit/val/aachen").mkdir(parents=True)
    with pytest.raises(DataError, match=r"/tets.*trainvaltest\.zip.* splits found: train, val\."):
        Cityscapes(tmp_path, "tets")
    with pytest.raises(DataError, match="splits found: none"):
        list_frames(tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match=r"No image in .*val.*_leftImg8bit\.png"):
        list_frames(tmp_path, "val")


@pytest.fixture
def refused(tmp_path):
    """Function that expects an error about the frame's file in `folder`; returns the message."""

    def call(folder, message, split="train", **options):
        path = tmp_path / FILES[folder].replace("train/", f"{split}/")
        with pytest.raises(DataError, match=message) as error:
            Cityscapes(tmp_path, split, **options)[0]
        assert str(path) in str(error.value)

    return call


@pytest.mark.parametrize("folder", list(FILES))
def test_a_missing_file_is_reported_with_its_archive(tmp_path, write_frame, folder):
    write_frame(tmp_path, "train", NAME)
    data = Cityscapes(tmp_path, "train")
    (tmp_path / FILES[folder]).unlink()
    with pytest.raises(DataError) as error:
        data[0]
    expected = f"No file {tmp_path / FILES[folder]} (from {folder}_trainvaltest.zip)."
    assert str(error.value) == expected


def test_frames_without_ground_truth_still_need_their_camera(tmp_path, write_frame, refused):
    write_frame(tmp_path, "train_extra", NAME)
    (tmp_path / FILES["camera"].replace("train/", "train_extra/")).unlink()
    refused("camera", r"\(from camera_trainextra\.zip\)", "train_extra", labelled=False)


@pytest.mark.parametrize("folder", ["leftImg8bit", "gtFine", "disparity"])
@pytest.mark.parametrize("kept", ["no byte", "half", "all but the last chunk", "other bytes"])
def test_a_damaged_png_is_reported_with_its_archive(
    tmp_path, write_noise, refused, folder, kept, capfd
):
    write_noise(tmp_path, [("train", NAME)], (24, 48))
    path = tmp_path / FILES[folder]
    code = path.read_bytes()
    left = {"no byte": 0, "half": len(code) // 2, "all but the last chunk": len(code) - 12}
    path.write_bytes(b"<html>404</html>" if kept == "other bytes" else code[: left[kept]])
    refused(folder, rf"\(from {folder}_trainvaltest\.zip\).* Unpack or render it again")
    capfd.readouterr()  # messages of libpng


OTHER_SIZE = r"size \(12, 24\), but its image \(24, 48\)"


@pytest.mark.parametrize(
    ("folder", "wrong", "message"),
    [
        ("gtFine", np.full((24, 48, 3), 7, np.uint8), "8-bit grey, but got .*colour"),
        ("gtFine", np.zeros((12, 24), np.uint8), OTHER_SIZE),
        ("disparity", np.full((24, 48), 90, np.uint8), "16-bit grey, but got uint8.*preview"),
        ("disparity", np.zeros((12, 24), np.uint16), OTHER_SIZE),
    ],
)
def test_ground_truth_of_another_type_or_size_is_refused(
    tmp_path, write_frame, refused, folder, wrong, message
):
    write_frame(tmp_path, "train", NAME)
    assert cv2.imwrite(str(tmp_path / FILES[folder]), wrong)
    refused(folder, message)


NO_CAMERA = "camera_trainvaltest.zip.*expected JSON with intrinsic fx, fy, u0, v0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *((text, NO_CAMERA) for text in ("{", "[]", "null", "\udcff")),  # the last is not UTF-8
        ({"extrinsic": None}, NO_CAMERA),
        ({"intrinsic": 5}, NO_CAMERA),
        ({"intrinsic": {**AACHEN["intrinsic"], "fx": None}}, NO_CAMERA),
        ({"intrinsic": {**AACHEN["intrinsic"], "v0": "wide"}}, NO_CAMERA),
        *(
            (change, "must be positive")
            for value in (0, -1.5, float("nan"))
            for change in (
                {"intrinsic": {**AACHEN["intrinsic"], "fx": value}},
                {"intrinsic": {**AACHEN["intrinsic"], "fy": value}},
                {"extrinsic": {"baseline": value}},
            )
        ),
    ],
)
def test_a_damaged_or_impossible_camera_file_is_refused(
    tmp_path, write_frame, refused, content, message
):
    write_frame(tmp_path, "train", NAME)
    text = content if isinstance(content, str) else json.dumps({**AACHEN, **content})
    (tmp_path / FILES["camera"]).write_bytes(text.encode(errors="surrogateescape"))
    refused("camera", message)
