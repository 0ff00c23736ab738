"""Several cameras on one node: they share one model, and each has its own topics and lens."""

import numpy as np
import pytest
from helpers.camera_rig import RELIABLE, CameraRig, gray, noise, pinhole, pixels, rgb8
from helpers.remote import ERROR, OK
from helpers.ros_processes import wait_until

from emu_core.runtime.dummy_model import dummy_outputs

CAMERAS = ("-p", "cameras:=[front, rear]")


@pytest.fixture
def rigs(domain, request):
    """The rigs of two cameras, in a namespace that the test gives as a parameter."""
    front, rear = (
        CameraRig(
            domain,
            request.param,
            topics=("semantic/image", "depth/image"),
            camera=name,
            calibrated=request.param == "/lenses",
        )
        for name in ("front", "rear")
    )
    yield front, rear
    rear.ros.close()


@pytest.mark.parametrize("rigs", ["/two"], indirect=True)
def test_each_camera_has_its_own_topics_and_stamps(rigs, model):
    front, rear = rigs
    with front.node("-p", f"model:={model}", *CAMERAS) as process:
        process.wait_for_line("waiting for /two/rear/image and /two/rear/camera_info")
        for rig in rigs:
            rig.wait_for_outputs()
        for seed in range(10):
            for rig, rgb in ((front, noise(seed)), (rear, noise(100 + seed))):
                outputs, expected = rig.process_image(rgb8(rgb)), dummy_outputs(rgb)
                assert np.array_equal(pixels(outputs["semantic/image"]), expected["labels"])
                assert np.array_equal(pixels(outputs["depth/image"]), expected["depth"], True)
        tasks = {"front input", "front output", "front scale", "rear input", "rear output"}
        assert tasks < set(front.remote.next_statuses())


@pytest.mark.parametrize("rigs", ["/lenses"], indirect=True)
def test_each_camera_has_its_own_lens(rigs, model):
    front, rear = rigs
    rgb = noise(1)
    with front.node("-p", f"model:={model}", *CAMERAS):
        for rig, name, scale in ((front, "front", 1), (rear, "rear", 2)):
            info = pinhole(100.0 * scale)
            rig.wait_for_outputs(rgb8(rgb), info)
            depth = pixels(rig.process_image(rgb8(rgb), info)["depth/image"])
            np.testing.assert_allclose(depth, scale * dummy_outputs(rgb)["depth"], rtol=1e-6)
            front.remote.wait_for_status(f"{name} scale", OK, rf"x{scale}\.000")


@pytest.mark.parametrize("rigs", ["/swapped"], indirect=True)
def test_two_topics_can_be_swapped_by_remapping(rigs, model):
    front, rear = rigs
    swap = ("-r", "front/image:=rear/image", "-r", "rear/image:=front/image")
    with front.node("-p", f"model:={model}", *CAMERAS, *swap) as process:
        process.wait_for_line("waiting for /swapped/rear/image and /swapped/front/camera_info")
        rear.wait_for_node()
        box = front.received["depth/image", RELIABLE]
        wait_until(
            lambda: box,
            "the rear camera on the topics of the front one",
            lambda: (rear.show(gray()), front.ros.spin()),
        )
        assert not rear.received["depth/image", RELIABLE]
        assert process.stop() == 0


@pytest.mark.parametrize("rigs", ["/half"], indirect=True)
def test_a_silent_camera_is_reported_by_name_while_the_other_works(rigs, model):
    front, _ = rigs
    with front.node("-p", f"model:={model}", *CAMERAS):
        front.wait_for_outputs()
        front.remote.wait_for_status(
            "rear input", ERROR, "no image on /half/rear/image", lambda: front.show(gray())
        )
        assert front.remote.statuses["front input"].level == OK
