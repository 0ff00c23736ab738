"""One camera without DDS: what it publishes, logs and counts for each image."""

import pytest
from helpers import labels
from helpers.camera_rig import noise, rgb8
from helpers.fake_node import FakeNode, make_camera

from emu_core.labels import CITYSCAPES
from emu_core.registry import Registry
from emu_core.runtime.perceiver import Perceiver
from emu_perception.messages.images import UnsupportedImage
from emu_perception.node.outputs import Output


@pytest.fixture
def node():
    return FakeNode()


@pytest.fixture
def camera(node, model, monkeypatch):
    """A camera with a single output, whose message is made by the test's `camera.make`."""

    def make(frame):
        return camera.make(frame)

    registry = Registry("output topic")
    registry.add("test", Output(object, "", "", "", make))
    monkeypatch.setattr("emu_perception.node.camera.OUTPUTS", registry)
    camera = make_camera(node, Perceiver(model, threads=1))
    camera.make = lambda frame: "message"
    return camera


def process(camera, frame_id="front"):
    message = rgb8(noise())
    message.header.frame_id = frame_id
    message.header.stamp.sec = 100
    camera.process(message, 0.0)
    return {kind: count for kind, count in camera.statistics.counts().items() if count}


def raising(error):
    def make(frame):
        raise error

    return make


@pytest.mark.parametrize(
    ("error", "outcome", "line", "last_error"),
    [
        (
            UnsupportedImage("step", "step too small"),
            "refused",
            "image refused: step too small",
            "image refused: step too small",
        ),
        (
            ZeroDivisionError("surprise"),
            "failed",
            "image failed: Traceback",
            "image failed: ZeroDivisionError: surprise",
        ),
    ],
)
def test_an_error_is_logged_and_counted_and_does_not_affect_the_next_image(
    camera, node, error, outcome, line, last_error
):
    camera.make = raising(error)
    for _ in range(2):
        process(camera)
    camera.make = lambda frame: "good"
    assert process(camera) == {outcome: 2, "processed": 1}
    assert node.published["~/test"] == ["good"]
    assert len(node.lines) == 1 and node.lines[0].startswith(line)
    assert camera.statistics.snapshot().last_error == last_error


def test_an_output_without_a_message_is_not_published(camera, node):
    camera.make = lambda frame: None
    assert process(camera) == {"processed": 1}
    assert node.published["~/test"] == []


def test_without_a_subscriber_nothing_is_computed(camera, node):
    node.subscribers = 0
    camera.make = raising(AssertionError("no subscriber"))
    assert process(camera) == {"no_subscriber": 1}


def test_images_without_a_frame_id_are_processed_with_one_warning(camera, node):
    process(camera, frame_id="")
    assert process(camera, frame_id="") == {"processed": 2}
    assert len(node.lines) == 1 and "no frame_id" in node.lines[0]


def test_a_processed_image_has_its_durations_and_age(camera, node):
    node.now_s = 100.25
    camera.make = lambda frame: frame.perception and "message"
    process(camera)
    durations = camera.statistics.snapshot().durations_ms
    assert durations["age"] == (250.0, 250.0)
    assert 0 < durations["inference"][0] < durations["latency"][0]


def test_the_classes_are_published_before_the_first_mask(camera, node):
    names = node.published["~/semantic/label_info"]
    camera.make = lambda frame: len(names)
    process(camera)
    assert node.published["~/test"] == [1]
    assert labels.classes(names[0]) == dict(enumerate(CITYSCAPES.names))
