"""Several cameras on one node: they share one model, and each has its own topics and lens."""

import numpy as np
import pytest
from helpers import labels
from helpers.camera_rig import CameraRig, gray, node_maps, noise, pinhole, pixels, rgb8
from helpers.clouds import cloud_array
from helpers.remote import ERROR, OK

TOPICS = ("semantic/image", "depth/image", "depth/camera_info", "points")


@pytest.fixture(scope="module")
def rigs(domain, model):
    """The rigs of two cameras of one node."""
    front, rear = (
        CameraRig(domain, "/two", topics=TOPICS, camera=name, calibrated=True)
        for name in ("front", "rear")
    )
    parameters = ("-p", f"model:={model}", "-p", "cameras:=[front, rear]")
    with front.node(*parameters, **labels.with_vision_msgs()) as process:
        process.wait_for_line("waiting for /two/rear/image and /two/rear/camera_info")
        yield front, rear
    rear.ros.close()


def test_a_silent_camera_is_reported_by_name_while_the_other_works(rigs):
    front, _ = rigs
    front.wait_for_node()
    front.remote.wait_for_status(
        "rear input", ERROR, "no image on /two/rear/image", lambda: front.show(gray())
    )
    assert front.remote.statuses["front input"].level == OK


def test_each_camera_has_its_own_topics_stamps_and_lens(rigs):
    for rig, scale in zip(rigs, (1, 2), strict=True):
        rig.wait_for_outputs(rgb8(noise()), pinhole(100.0 * scale))
    for seed in range(10):
        for rig, name, scale in zip(rigs, ("front", "rear"), (1, 2), strict=True):
            rgb = noise(seed + 100 * scale)
            outputs, expected = rig.process_image(rgb8(rgb)), node_maps(rgb)
            assert np.array_equal(pixels(outputs["semantic/image"]), expected["labels"])
            depth = pixels(outputs["depth/image"])
            np.testing.assert_allclose(depth, scale * expected["depth"], rtol=1e-6)
            assert outputs["depth/camera_info"].k[0] == 100 * scale
            assert np.array_equal(cloud_array(outputs["points"])["label"], expected["labels"])
            assert len({str(message.header) for message in outputs.values()}) == 1
            rig.remote.wait_for_status(f"{name} scale", OK, rf"x{scale}\.000")


def test_two_topics_can_be_swapped_by_remapping(make_node):
    swap = ("-r", "front/image:=rear/image", "-r", "rear/image:=front/image")
    node = make_node("-p", "cameras:=[front, rear]", *swap)
    node.bring_up()
    for name, other in (("front", "rear"), ("rear", "front")):
        infos, images = node._cameras[name].subscriptions
        assert infos._subscription.topic_name == f"/{name}/camera_info"
        assert images.topic == images._subscription.topic_name == f"/{other}/image"
