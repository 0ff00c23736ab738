"""Images that are rectified already: P of camera_info holds, and what the node says about it."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")

from helpers import labels
from helpers.camera_rig import noise, rgb8
from helpers.clouds import positions
from helpers.fake_node import FakeNode, FakeParameters
from sensor_msgs.msg import CameraInfo

from emu_core.runtime.perceiver import Perceiver
from emu_perception.node.camera import Camera
from emu_perception.node.statistics import CameraStatistics

WIDTH, HEIGHT = 640, 480
K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
D = np.array([-0.35, 0.12, 0, 0, 0])
NEW = cv2.getOptimalNewCameraMatrix(K, D, (WIDTH, HEIGHT), 0.0)[0]
"""What camera_calibration writes into P."""


def raw_camera_info(d=D, model="plumb_bob"):
    return CameraInfo(
        width=WIDTH,
        height=HEIGHT,
        distortion_model=model,
        d=[float(value) for value in d],
        k=K.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([NEW, np.zeros((3, 1))]).ravel(),
    )


class Publishing(FakeNode):
    """A node whose `image` is remapped to a topic, with publishers of these names."""

    def __init__(self, topic, publishers=()):
        super().__init__()
        self.topic, self.names = topic, publishers

    def resolve_topic_name(self, name):
        return self.topic if name == "image" else name

    def get_publishers_info_by_topic(self, topic):
        return [SimpleNamespace(node_name=name) for name in self.names]


def make_camera(model, topic, publishers=(), **parameters):
    assert labels.label_info_type()  # with the stand-in, there are points
    given = FakeParameters()
    given.update(parameters)
    node = Publishing(topic, publishers)
    return Camera(node, "", Perceiver(model), CameraStatistics(), given)


def cloud_and_info(camera, info):
    """The rays x / z and y / z of the cloud, and depth/camera_info."""
    camera.lens.update(info)
    image = np.repeat(np.repeat(noise(), 10, axis=0), 10, axis=1)
    camera.process(rgb8(image), 0.0)
    published = camera._node.published
    points = positions(published["~/points"][-1])
    return points[..., :2] / points[..., 2:], published["~/depth/camera_info"][-1]


def pinhole_rays(k):
    """Rays of the maps' pixels for the image's matrix, by the rule for scaled pixel centres."""
    u, v = np.meshgrid(np.arange(64.0), np.arange(48.0))
    points = np.stack([(u + 0.5) * WIDTH / 64 - 0.5, (v + 0.5) * HEIGHT / 48 - 0.5], axis=-1)
    return (points - k[:2, 2]) / [k[0, 0], k[1, 1]]


def assert_rays(found, expected):
    known = np.isfinite(found)
    assert known.mean() > 0.1
    np.testing.assert_allclose(found[known], expected[known], atol=2e-3)


@pytest.mark.parametrize(
    ("topic", "parameters"),
    [
        ("/camera/image_rect", {}),
        ("/camera/image_rect", {"rectify": True}),
        ("/camera/image", {"image_geometry": "rectified"}),
        ("/camera/image", {"image_geometry": "rectified", "rectify": True}),
    ],
)
@pytest.mark.parametrize("distortion", ["plumb_bob", "unheard of"])
def test_rectified_images_follow_p(model, topic, parameters, distortion):
    camera = make_camera(model, topic, **parameters)
    rays, info = cloud_and_info(camera, raw_camera_info(model=distortion))
    assert_rays(rays, pinhole_rays(NEW))
    assert info.k[0] == pytest.approx(NEW[0, 0] / 10) and not any(info.d)
    focal = np.sqrt(NEW[0, 0] * NEW[1, 1]) / 10
    assert f"camera {focal:.0f} px vs canonical 100 px" in camera.lens.scale.text


@pytest.mark.parametrize(
    ("topic", "parameters"),
    [("/camera/image_raw", {}), ("/camera/image_rect", {"image_geometry": "raw"})],
)
def test_raw_images_follow_k_and_d(model, topic, parameters):
    rays, info = cloud_and_info(make_camera(model, topic, **parameters), raw_camera_info())
    pixels = (pinhole_rays(np.eye(3))).reshape(-1, 1, 2)
    assert_rays(rays, cv2.undistortPoints(pixels, K, D).reshape(48, 64, 2))
    assert info.k[0] == 50 and info.d.tolist() == D.tolist()


@pytest.mark.parametrize(
    ("topic", "publishers", "choice", "text"),
    [
        ("/camera/image_rect", (), "auto", "taken for rectified because of their topic's name"),
        (
            "/camera/image",
            ("driver", "rectify_node"),
            "auto",
            "images come from rectify_node, but",
        ),
        ("/camera/image", ("RectifyNode",), "auto", "the images come from RectifyNode, but"),
        ("/camera/image", ("driver",), "auto", ""),
        ("/camera/image_rect", ("rectify_node",), "rectified", ""),
        ("/camera/image_rect", ("rectify_node",), "raw", ""),
    ],
)
def test_a_doubt_is_logged_once_until_the_user_decides(model, topic, publishers, choice, text):
    camera = make_camera(model, topic, publishers, image_geometry=choice)
    assert camera.lens.doubt() == "", "nothing is known yet"
    camera.lens.update(raw_camera_info())
    assert text in camera.lens.doubt() and bool(text) == bool(camera.lens.doubt())
    assert len(camera._node.lines) == bool(text)
    camera.lens.update(raw_camera_info([0.0] * 5))
    assert camera.lens.doubt() == "", "K and P of a lens without distortion agree"
