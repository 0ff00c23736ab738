import numpy as np
import pytest

from emu_core.data.cityscapes import Cityscapes, encode_disparity
from emu_core.data.sample import DataError
from emu_core.drives.survey import count_classes, learn_prior, score_prior

ROAD, SKY, CAR, NOTHING = 7, 23, 26, 0
INF = np.inf


@pytest.fixture
def add_frame(write_frame, tmp_path):
    """Function that writes a frame whose pixels have the given labelIds and depths (m)."""

    def add(split, index, ids, depth):
        ids, depth = np.asarray(ids, np.uint8), np.asarray(depth, np.float32)
        raw, rgb = encode_disparity(depth, 500.0, 0.22), np.zeros((*ids.shape, 3), np.uint8)
        write_frame(tmp_path, split, f"{split}_000000_{index:06d}", rgb, ids, raw, focal=500.0)

    return add


@pytest.fixture
def root(add_frame, tmp_path):
    add_frame("train", 0, [[SKY, SKY], [ROAD, ROAD]], [[INF, INF], [10, 8]])
    add_frame("train", 1, [[SKY, CAR], [ROAD, CAR]], [[INF, 30], [20, 8]])
    add_frame("train", 2, [[SKY, CAR], [CAR, ROAD]], [[INF, 40], [30, 8]])
    add_frame("test", 0, [[SKY, ROAD], [ROAD, NOTHING]], [[50, INF], [22, 4]])
    return tmp_path


def test_a_prior_is_the_mean_depth_and_the_most_frequent_class_of_each_pixel(root):
    depth, labels = learn_prior(Cityscapes(root, "train"))
    np.testing.assert_allclose(depth, [[0, 35], [20, 8]], rtol=2e-3)
    assert labels.tolist() == [[10, 13], [0, 0]]  # sky, car; road, road
    depth, _ = learn_prior(Cityscapes(root, "train"), stride=2)  # every second frame
    np.testing.assert_allclose(depth, [[0, 40], [20, 8]], rtol=2e-3)


def test_a_prior_is_scored_on_every_valid_pixel(root):
    """Truth 50, -, 22, 4 m; prior 0 (never seen), 35, 20, 8 m: only the third is within δ1."""
    scores = score_prior(learn_prior(Cityscapes(root, "train")), Cityscapes(root, "test"))
    assert scores["delta1"] == pytest.approx(1 / 3)
    assert scores["abs_rel"] == pytest.approx((1 + 2 / 22 + 1) / 3, rel=5e-3)
    # IoU of sky 1/1, of road 1/2 (one pixel is called car), of car 0/1.
    assert scores["miou"] == pytest.approx((1 + 1 / 2 + 0) / 3)


def test_the_frames_of_each_class_are_counted(root):
    frames, counts = count_classes(root, "train")
    assert (frames, len(counts)) == (3, 19)
    assert {n: c for n, c in counts.items() if c} == {"road": 3, "sky": 3, "car": 2}


def test_frames_of_different_sizes_have_no_prior(root, add_frame):
    add_frame("train", 3, [[SKY, SKY, SKY]], [[1, 1, 1]])
    with pytest.raises(DataError, match=r"train_000000_000003 is \(1, 3\)"):
        learn_prior(Cityscapes(root, "train"))
