"""Models of one task, or without a deviation of depth: topics, clouds, log and diagnostics."""

import sys

import numpy as np
import pytest
from helpers import labels
from helpers.camera_rig import CameraRig, noise, pinhole, pixels, rgb8
from helpers.clouds import cloud_array
from helpers.fake_node import FakeNode, make_camera
from helpers.remote import OK

from emu_core.runtime.dummy_model import dummy_outputs, make_dummy_model
from emu_core.runtime.metadata import OUTPUT_SETS
from emu_core.runtime.perceiver import Perceiver
from emu_perception.node import checks

LABELS, DEPTH, DEPTH_STD, BOTH, ALL = OUTPUT_SETS
OF_LABELS = {"semantic/label_info", "semantic/image", "semantic/confidence"} | {
    "semantic/uncertainty",
    "overlay",
    "overlay/compressed",
    "semantic/camera_info",
    "semantic/dynamic_mask",
    "semantic/image_16sc1",
}
OF_DEPTH = {"depth/image", "depth/camera_info", "points", "depth/rgb", "depth/image_16uc1"}
OF_BOTH = OF_LABELS | OF_DEPTH | {"obstacles", "ground"}
TOPICS = {
    LABELS: OF_LABELS,
    DEPTH: OF_DEPTH,
    DEPTH_STD: OF_DEPTH | {"depth/uncertainty"},
    BOTH: OF_BOTH,
    ALL: OF_BOTH | {"depth/uncertainty", "clearing"},
}
FIELDS = {"labels": ["label", "label_uncertainty"], "depth_std": ["depth_std"]}


@pytest.fixture(scope="module")
def perceiver(models):
    """Function that makes a perceiver of a model with some outputs."""

    def make(outputs, focal=100.0):
        path = models / f"{'-'.join(outputs)}-{focal}.onnx"
        return Perceiver(make_dummy_model(path, outputs=outputs, canonical_focal=focal))

    return make


def process(camera, rgb, info=None):
    message = rgb8(rgb)
    message.header.frame_id = "front"
    if info is not None:
        camera.lens.update(info)
    camera.process(message, 0.0)
    assert camera.statistics.counts()["processed"] == 1, camera.statistics.snapshot().last_error


@pytest.mark.parametrize("outputs", OUTPUT_SETS, ids="+".join)
def test_only_topics_that_the_model_can_fill_exist_and_all_are_filled(perceiver, outputs):
    node = FakeNode()
    camera = make_camera(node, perceiver(outputs))
    assert set(node.published) == {f"~/{topic}" for topic in TOPICS[outputs]}
    rgb = noise()
    process(camera, rgb, pinhole(100.0))
    assert [topic for topic, messages in node.published.items() if not messages] == []
    if "depth" not in outputs:
        return
    cloud = cloud_array(node.published["~/points"][0])
    extra = [
        field for name in ("labels", "depth_std") if name in outputs for field in FIELDS[name]
    ]
    assert list(cloud.dtype.names) == ["x", "y", "z", "rgb", *extra]
    expected = dummy_outputs(rgb)
    kept = np.isfinite(expected["depth"])
    if "depth_std" in outputs:  # otherwise no limit applies
        kept &= expected["depth_std"] <= 0.3 * expected["depth"]
    np.testing.assert_array_equal(np.isfinite(cloud["z"]), kept)


def test_a_model_without_classes_needs_no_vision_msgs_for_its_cloud(perceiver, monkeypatch):
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", None)
    node = FakeNode()
    make_camera(node, perceiver(DEPTH))
    assert "~/points" in node.published


def test_without_depth_no_camera_info_is_asked_for(perceiver):
    node = FakeNode()
    camera = make_camera(node, perceiver(LABELS))
    process(camera, noise())
    assert (camera.lens.scale.state, node.lines) == ("no depth", [])


def test_metres_for_every_lens_are_not_rescaled(perceiver):
    node, rgb = FakeNode(), noise()
    camera = make_camera(node, perceiver(DEPTH, focal=None))
    process(camera, rgb, pinhole(60.0))
    np.testing.assert_array_equal(
        pixels(node.published["~/depth/image"][0]), dummy_outputs(rgb)["depth"]
    )
    assert camera.lens.scale.state == "verified" and "every lens" in camera.lens.scale.text
    alone = make_camera(FakeNode(), perceiver(DEPTH, focal=None))
    process(alone, rgb)
    assert alone.lens.scale.state == "unverified" and "no camera_info" in alone.lens.scale.text


def test_log_and_diagnostics_name_what_is_absent(domain, models):
    model = make_dummy_model(models / "seg.onnx", outputs=LABELS)
    topics = ["semantic/image", "semantic/uncertainty"]
    rig = CameraRig(domain, "/single", topics=topics)
    absent = "the model has no depth and depth_std, so these topics are not published: depth/image"
    with rig.node("-p", f"model:={model}", **labels.with_vision_msgs()) as process:
        process.wait_for_line(absent)
        rgb = noise()
        rig.wait_for_outputs()
        outputs = rig.process_image(rgb8(rgb))
        np.testing.assert_array_equal(
            pixels(outputs["semantic/image"]), dummy_outputs(rgb)["labels"]
        )

        def show():
            rig.show(rgb8(rgb))

        rig.remote.wait_for_status("model", OK, f"seg on cpu; {absent}", show)
        assert rig.remote.values("model")["outputs"] == "labels, label_uncertainty"
        rig.remote.wait_for_status("scale", OK, "the model has no depth", show)
        found = {name for name, _ in rig.ros.node.get_topic_names_and_types()}
        assert "/single/emu_perception/overlay" in found
        assert not {name for name in found if name.startswith("/single/emu_perception/depth")}


def test_without_classes_the_diagnostics_say_why_there_is_no_label_info():
    status = checks.labels_status(has_labels=False)
    assert status.level == OK[0] and "the model has no classes" in status.message
