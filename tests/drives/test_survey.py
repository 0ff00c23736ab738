import json

import numpy as np
import pytest

from emu_core.data.cityscapes import Cityscapes, FrameFiles, encode_disparity, write_png
from emu_core.data.sample import DataError
from emu_core.drives.survey import count_classes, learn_prior, score_prior

ROAD, SKY, CAR, NOTHING = 7, 23, 26, 0


def add_frame(root, split, index, ids, depth):
    """Write a frame whose pixels have the given labelIds and depths (m)."""
    files = FrameFiles(root, split, f"{split}_000000_{index:06d}")
    ids, depth = np.asarray(ids, np.uint8), np.asarray(depth, np.float32)
    focal, baseline = 500.0, 0.22
    write_png(files.path("leftImg8bit"), np.zeros((*ids.shape, 3), np.uint8))
    write_png(files.path("gtFine"), ids)
    write_png(files.path("disparity"), encode_disparity(depth, focal, baseline))
    camera = {
        "extrinsic": {"baseline": baseline},
        "intrinsic": {"fx": focal, "fy": focal, "u0": (ids.shape[1] - 1) / 2, "v0": 0.5},
    }
    path = files.path("camera")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(camera))


@pytest.fixture
def root(tmp_path):
    add_frame(tmp_path, "train", 0, [[SKY, SKY], [ROAD, ROAD]], [[np.inf, np.inf], [10, 8]])
    add_frame(tmp_path, "train", 1, [[SKY, CAR], [ROAD, CAR]], [[np.inf, 30], [20, 8]])
    add_frame(tmp_path, "train", 2, [[SKY, CAR], [CAR, ROAD]], [[np.inf, 40], [30, 8]])
    add_frame(tmp_path, "test", 0, [[SKY, ROAD], [ROAD, NOTHING]], [[50, np.inf], [22, 4]])
    return tmp_path


def test_a_prior_is_the_mean_depth_and_the_most_frequent_class_of_each_pixel(root):
    prior = learn_prior(Cityscapes(root, "train"))
    np.testing.assert_allclose(prior.depth, [[0, 35], [20, 8]], rtol=2e-3)
    assert prior.labels.tolist() == [[10, 13], [0, 0]]  # sky, car; road, road


def test_a_prior_can_look_at_some_frames_only(root):
    prior = learn_prior(Cityscapes(root, "train"), stride=2)  # frames 0 and 2
    np.testing.assert_allclose(prior.depth, [[0, 40], [20, 8]], rtol=2e-3)


def test_a_prior_is_scored_on_every_valid_pixel(root):
    """Truth 50, -, 22, 4 m against 0 (never seen), 35, 20, 8 m: close is the third only."""
    scores = score_prior(learn_prior(Cityscapes(root, "train")), Cityscapes(root, "test"))
    assert scores.delta1 == pytest.approx(1 / 3)
    assert scores.abs_rel == pytest.approx((1 + 2 / 22 + 1) / 3, rel=5e-3)
    # Sky is hit (1/1), road is hit once and called car once (1/2), car is wrong (0/1).
    assert scores.miou == pytest.approx((1 + 1 / 2 + 0) / 3)


def test_classes_are_counted_by_frames(root):
    calls = []
    counts = count_classes(root, "train", lambda: calls.append(1))
    assert counts.frames == len(calls) == 3
    assert {n: c for n, c in counts.frames_with.items() if c} == {"road": 3, "sky": 3, "car": 2}
    assert len(counts.missing) == 16 and "bus" in counts.missing


def test_frames_of_different_sizes_have_no_prior(root):
    add_frame(root, "train", 3, [[SKY, SKY, SKY]], [[1, 1, 1]])
    with pytest.raises(DataError, match=r"train_000000_000003 is \(1, 3\)"):
        learn_prior(Cityscapes(root, "train"))


def test_a_missing_split_is_named(root):
    with pytest.raises(DataError, match="splits found: test, train"):
        count_classes(root, "val")
