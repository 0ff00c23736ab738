"""Several cameras on one node: they share one model, and each has its own topics and lens."""

from unittest.mock import Mock

import numpy as np
import pytest
from helpers import labels
from helpers.camera_rig import CameraRig, gray, node_maps, noise, pinhole, pixels, rgb8
from helpers.clouds import cloud_array
from helpers.fake_node import FakeNode, make_camera
from helpers.remote import ERROR, OK

from emu_core.runtime import batching, perceiver
from emu_core.runtime.dummy_model import make_dummy_model
from emu_core.runtime.perceiver import Perceiver
from emu_perception.node.camera import process_together

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
    told = {pair.key: pair.value for pair in front.remote.statuses["model"].values}
    alone = "images one after the other: 'cpu' gains nothing by batches"
    assert told["images of several cameras"] == alone


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


# --- several images in one inference


MAP_TOPICS = (
    "~/semantic/image",
    "~/depth/image",
    "~/depth/uncertainty",
    "~/semantic/probabilities",
)


@pytest.fixture
def model_with_logits(models):
    return make_dummy_model(models / "logits.onnx", (48, 64), logits=True)


@pytest.fixture
def faster_batches(monkeypatch):
    """Let a batch on the CPU seem to take as long as one and a half images."""
    times = iter([10.0, 15.0])
    monkeypatch.setattr(perceiver, "BATCHING", ("cpu",))
    monkeypatch.setattr(batching, "median_ms", lambda run: next(times))


@pytest.fixture
def together(model_with_logits, faster_batches):
    """A perceiver that computes three images in one inference, from two on, and counts both."""
    found = Perceiver(model_with_logits, threads=1)
    found.use_batches(3)
    found._batch.run = Mock(side_effect=found._batch.run)
    found._run = Mock(side_effect=found._run)
    return found


def cameras(perceiver, number=3):
    return [make_camera(FakeNode(), perceiver) for _ in range(number)]


def messages(number=3):
    sent = [rgb8(np.roll(noise(), i, axis=1)) for i in range(number)]
    for i, message in enumerate(sent):
        message.header.frame_id, message.header.stamp.sec = f"camera{i}", 100
    return sent


def published(camera):
    sent = camera._node.published
    last = {topic: sent[topic][-1] for topic in MAP_TOPICS}
    return {topic: (m.header.frame_id, m.encoding, bytes(m.data)) for topic, m in last.items()}


def outcomes(camera):
    return {kind: count for kind, count in camera.statistics.counts().items() if count}


def test_every_camera_publishes_what_it_publishes_alone(model_with_logits, together):
    alone = cameras(Perceiver(model_with_logits, threads=1))
    for camera, message in zip(alone, messages(), strict=True):
        camera.process(message, 0.0)
    of_three = cameras(together)
    process_together([(c, m, 0.0) for c, m in zip(of_three, messages(), strict=True)])
    assert together._batch.run.call_count == 1 and together._run.call_count == 0
    for camera, expected in zip(of_three, alone, strict=True):
        assert outcomes(camera) == {"processed": 1}
        assert published(camera) == published(expected)


def test_an_unusable_image_and_a_camera_without_subscribers_do_not_stop_the_others(together):
    bad, silent, *good = cameras(together, 4)
    sent = messages(4)
    sent[0].step += 7
    silent._node.subscribers = 0
    process_together([(c, m, 0.0) for c, m in zip([bad, silent, *good], sent, strict=True)])
    assert outcomes(bad) == {"refused": 1} and outcomes(silent) == {"no_subscriber": 1}
    assert [outcomes(camera) for camera in good] == [{"processed": 1}] * 2
    assert together._batch.run.call_count == 1 and together._run.call_count == 0


def test_images_are_computed_alone_when_the_batch_fails(together):
    together._batch.run.side_effect = RuntimeError("out of memory")
    both = cameras(together, 2)
    process_together([(c, m, 0.0) for c, m in zip(both, messages(2), strict=True)])
    assert [outcomes(camera) for camera in both] == [{"processed": 1}] * 2
    assert together._run.call_count == 2


def test_the_worker_of_a_node_takes_as_many_images_as_a_batch_needs(make_node, faster_batches):
    node = make_node("-p", "cameras:=[front, rear, left]", "-p", "provider:=cpu")
    node.bring_up()
    assert node._worker._together == 2
    told = node._model_status.values["images of several cameras"]
    assert told == "from 2 images on together: 15.0 ms for 3 images together, 10.0 ms for one"
