"""The running node's cloud: where geometry puts each pixel, gated as the parameter says."""

import numpy as np
import pytest
from helpers import labels

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")
pytest.importorskip("onnx", reason="needs onnx, to make a model file")

from diagnostic_msgs.msg import DiagnosticStatus
from helpers.camera_rig import CameraRig, picture, pixels
from helpers.clouds import cloud_array, positions
from helpers.remote import Remote
from sensor_msgs.msg import CameraInfo

from emu_core.runtime.dummy_model import dummy_outputs

TOPICS = ("points", "semantic/image", "depth/camera_info")
FOCAL, CENTER = 80.0, (31.5, 23.5)


def info(model="plumb_bob", d=(0.0,) * 5):
    message = CameraInfo(width=64, height=48, distortion_model=model, d=d)
    message.k = np.array([FOCAL, 0, CENTER[0], 0, FOCAL, CENTER[1], 0, 0, 1.0])
    message.p = np.array([FOCAL, 0, CENTER[0], 0, 0, FOCAL, CENTER[1], 0, 0, 0, 1.0, 0])
    message.r = np.eye(3).ravel()
    return message


@pytest.fixture(scope="module")
def rig(domain, model):
    rig = CameraRig(domain, "/clouds", topics=TOPICS, calibrated=True)
    with rig.node("-p", f"model:={model}", **labels.with_vision_msgs()):
        rig.remote = Remote(rig.ros, "/clouds/emu_perception")
        rig.wait_for_answers(picture()[1], info())
        yield rig


def test_every_usable_pixel_is_where_its_depth_and_ray_put_it(rig):
    rgb, message = picture()
    answers = rig.ask(message, info())
    seen, cloud = dummy_outputs(rgb), answers["points"]
    assert cloud.header == answers["semantic/image"].header and not cloud.is_dense
    # The dummy's canonical focal length is 100 px, and this lens has 80.
    depth, std = 0.8 * seen["depth"], 0.8 * seen["depth_std"]
    usable = np.isfinite(depth) & (std <= 0.3 * depth)
    v, u = np.mgrid[:48, :64]
    expected = np.stack(
        [(u - CENTER[0]) / FOCAL * depth, (v - CENTER[1]) / FOCAL * depth, depth], axis=-1
    )
    found = positions(cloud)
    assert np.array_equal(np.isfinite(found).all(axis=-1), usable)
    np.testing.assert_allclose(found[usable], expected[usable], rtol=1e-5, atol=1e-6)
    points = cloud_array(cloud)
    assert np.array_equal(points["label"], pixels(answers["semantic/image"]))
    assert np.array_equal(points["label_uncertainty"], seen["label_uncertainty"])


def test_the_gate_follows_its_parameter_and_doubtful_classes_keep_their_positions(rig):
    rgb, message = picture()
    seen = dummy_outputs(rgb)
    assert rig.remote.set("unknown_above", 0.5) == ""
    for limit in (0.0, 0.1, 10.0):
        assert rig.remote.set("max_depth_std_ratio", limit) == ""
        answers = rig.ask(message, info())
        with np.errstate(invalid="ignore"):
            usable = np.isfinite(seen["depth"]) & (seen["depth_std"] <= limit * seen["depth"])
        found = np.isfinite(positions(answers["points"])).all(axis=-1)
        # Rounding may tip a pixel that lies on the limit.
        assert np.mean(found != usable) < 0.005
        doubtful = pixels(answers["semantic/image"]) == 19
        assert (found & doubtful).any() or limit == 0.0
    assert rig.remote.set("unknown_above", 0.0) == ""
    assert rig.remote.set("max_depth_std_ratio", 0.3) == ""


def test_a_lens_of_an_unknown_kind_has_no_cloud_and_the_reason_is_told(rig):
    stamp = rig.send(picture()[1], info("fov", (0.9,)))
    others = {key: box for key, box in rig.received.items() if key[0] != "points"}
    rig.ros.wait_until(lambda: all(stamp in box for box in others.values()), "the other answers")
    rig.remote.wait_for_status(
        "scale", DiagnosticStatus.WARN, "no points: camera_info has the distortion model 'fov'"
    )
    assert not any(stamp in box for (topic, _), box in rig.received.items() if topic == "points")
    rig.ask(picture()[1], info())
    rig.remote.wait_for_status("scale", DiagnosticStatus.OK)


def test_rectified_maps_are_those_of_a_pinhole(domain, model):
    rig = CameraRig(domain, "/straight", topics=TOPICS, calibrated=True)
    bent = info(d=(-0.2, 0.05, 0.0, 0.0, 0.0))
    parameters = ("-p", f"model:={model}", "-p", "rectify:=true")
    with rig.node(*parameters, **labels.with_vision_msgs()):
        rig.wait_for_answers(picture()[1], bent)
        answers = rig.ask(picture()[1], bent)
    described = answers["depth/camera_info"]
    assert not any(described.d) and described.k.tolist() == bent.k.tolist()
    found = positions(answers["points"])
    v, u = np.mgrid[:48, :64]
    known = np.isfinite(found).all(axis=-1)
    assert known.mean() > 0.1
    for axis, along in ((0, (u - CENTER[0]) / FOCAL), (1, (v - CENTER[1]) / FOCAL)):
        np.testing.assert_allclose(
            found[known][:, axis], (along * found[..., 2])[known], rtol=1e-5, atol=1e-6
        )
