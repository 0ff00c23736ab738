"""Chains of fixed transforms, against matrices multiplied by hand."""

import numpy as np
import pytest
from bag_messages import transform, write_bag

from emu_core.bags.errors import BagError
from emu_core.bags.reader import open_bag
from emu_core.recordings.transforms import StaticTransforms

HALF = np.sqrt(0.5)
# The optical frame of a camera that looks along the robot's x: z forward, x right, y down.
OPTICAL = (-0.5, 0.5, -0.5, 0.5)


def matrix(tmp_path, messages, source, target):
    with open_bag(write_bag(tmp_path / "bag", messages)) as bag:
        return StaticTransforms(bag).matrix(source, target)


def test_a_chain_up_and_down_the_tree(tmp_path):
    messages = [
        ("/tf_static", 0, transform("base", "mast", (0, 0, 1))),
        ("/tf_static", 0, transform("mast", "lidar", (0.2, 0, 0.5), (0, 0, HALF, HALF))),
        ("/tf_static", 0, transform("base", "camera", (1, 0, 0.8))),
        ("/tf_static", 0, transform("/camera", "/optical", rotation=OPTICAL)),
    ]
    result = matrix(tmp_path, messages, "lidar", "/optical")
    # 10 m along the lidar's x is its parent's y (a quarter turn): (0.2, 10, 1.5) in base, then
    # (-0.8, 10, 0.7) in camera; the optical axes are (-y, -z, x).
    np.testing.assert_allclose(result @ [10, 0, 0, 1], [-10, -0.7, -0.8, 1], atol=1e-12)
    np.testing.assert_allclose(result[:3, :3] @ result[:3, :3].T, np.eye(3), atol=1e-12)


def test_the_same_frame_needs_no_transform(tmp_path):
    messages = [("/tf_static", 0, transform("base", "mast"))]
    np.testing.assert_array_equal(matrix(tmp_path, messages, "/camera", "camera"), np.eye(4))


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        (
            [("/tf_static", 0, transform("base", "camera"))],
            "does not connect 'lidar' and 'camera'; its frames are base, camera. Record",
        ),
        (
            [
                ("/tf_static", 0, transform("base", "camera")),
                ("/tf", 0, transform("base", "arm")),
                ("/tf_static", 0, transform("arm", "lidar")),
            ],
            "does not connect 'lidar' and 'camera', only /tf does, whose transforms change",
        ),
        ([("/tf", 0, transform("base", "arm"))], "its frames are none"),
        (
            [("/tf_static", 0, transform("base", "lidar", rotation=(0, 0, 0, 0)))],
            "from 'lidar' to 'base' on /tf_static is not finite or has a zero quaternion",
        ),
        (
            [
                ("/tf_static", 0, transform("a", "lidar")),
                ("/tf_static", 0, transform("lidar", "a")),
            ],
            "has a cycle",
        ),
    ],
)
def test_what_is_not_fixed_is_refused(tmp_path, messages, problem):
    with pytest.raises(BagError, match=problem):
        matrix(tmp_path, messages, "lidar", "camera")
