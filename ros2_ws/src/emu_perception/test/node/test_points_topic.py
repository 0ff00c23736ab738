"""The point cloud of the running node: the position of each pixel, and the gate on depth_std."""

import numpy as np
import pytest
from helpers import labels
from helpers.camera_rig import CameraRig, noise, pinhole, pixels, rgb8
from helpers.clouds import cloud_array, positions
from helpers.remote import OK, WARN

from emu_core.runtime.dummy_model import dummy_outputs

TOPICS = ("points", "semantic/image", "depth/camera_info")
FOCAL, CENTER = 80.0, (31.5, 23.5)
ROWS, COLUMNS = np.mgrid[:48, :64]
X, Y = (COLUMNS - CENTER[0]) / FOCAL, (ROWS - CENTER[1]) / FOCAL
IMAGE, MAPS = rgb8(noise()), dummy_outputs(noise())


def info(model="plumb_bob", d=(0.0,) * 5):
    message = pinhole(FOCAL)
    message.distortion_model, message.d = model, d
    return message


@pytest.fixture(scope="module")
def rig(domain, model):
    rig = CameraRig(domain, "/clouds", topics=TOPICS, calibrated=True)
    with rig.node("-p", f"model:={model}", **labels.with_vision_msgs()):
        rig.wait_for_outputs(IMAGE, info())
        yield rig


def test_every_usable_pixel_has_the_position_of_its_depth_and_ray(rig):
    outputs = rig.process_image(IMAGE, info())
    cloud = outputs["points"]
    assert cloud.header == outputs["semantic/image"].header and not cloud.is_dense
    # The dummy's canonical focal length is 100 px, and this lens has 80.
    depth, std = 0.8 * MAPS["depth"], 0.8 * MAPS["depth_std"]
    usable = np.isfinite(depth) & (std <= 0.3 * depth)
    expected = np.stack([X * depth, Y * depth, depth], axis=-1)
    found = positions(cloud)
    assert np.array_equal(np.isfinite(found).all(axis=-1), usable)
    np.testing.assert_allclose(found[usable], expected[usable], rtol=1e-5, atol=1e-6)
    points = cloud_array(cloud)
    assert np.array_equal(points["label"], pixels(outputs["semantic/image"]))
    assert np.array_equal(points["label_uncertainty"], MAPS["label_uncertainty"])


def test_the_gate_follows_its_parameter_and_uncertain_classes_keep_their_positions(rig):
    assert rig.remote.set("unknown_above", 0.5) == ""
    for limit in (0.0, 0.1, 10.0):
        assert rig.remote.set("max_depth_std_ratio", limit) == ""
        outputs = rig.process_image(IMAGE, info())
        with np.errstate(invalid="ignore"):
            usable = np.isfinite(MAPS["depth"]) & (MAPS["depth_std"] <= limit * MAPS["depth"])
        found = np.isfinite(positions(outputs["points"])).all(axis=-1)
        # Rounding may move a pixel across the limit.
        assert np.mean(found != usable) < 0.005
        uncertain = pixels(outputs["semantic/image"]) == 19
        assert (found & uncertain).any() or limit == 0.0
    assert rig.remote.set("unknown_above", 0.0) == ""
    assert rig.remote.set("max_depth_std_ratio", 0.3) == ""


def test_an_unknown_distortion_model_gives_no_points_and_a_warning(rig):
    stamp = rig.send(IMAGE, info("fov", (0.9,)))
    points, *others = rig.received.values()
    rig.ros.wait_until(lambda: all(stamp in box for box in others), "the other outputs")
    rig.remote.wait_for_status("scale", WARN, "no points: unsupported distortion model 'fov'")
    assert stamp not in points
    rig.process_image(IMAGE, info())
    rig.remote.wait_for_status("scale", OK)


def test_rectified_points_are_those_of_a_pinhole(domain, model):
    rig = CameraRig(domain, "/rectified", topics=TOPICS, calibrated=True)
    distorted = info(d=(-0.2, 0.05, 0.0, 0.0, 0.0))
    parameters = ("-p", f"model:={model}", "-p", "rectify:=true")
    with rig.node(*parameters, **labels.with_vision_msgs()):
        rig.wait_for_outputs(IMAGE, distorted)
        outputs = rig.process_image(IMAGE, distorted)
    described = outputs["depth/camera_info"]
    assert not any(described.d) and described.k.tolist() == distorted.k.tolist()
    found = positions(outputs["points"])
    known = np.isfinite(found).all(axis=-1)
    assert known.mean() > 0.1
    expected = np.stack([X, Y], axis=-1) * found[..., 2:]
    np.testing.assert_allclose(found[known][:, :2], expected[known], rtol=1e-5, atol=1e-6)
