"""The node as a process, over real DDS, with a model whose outputs are known exactly.

A rig in this process publishes images and subscribes to the topics of `emu_node`, which is another
process. All waits are for conditions, with a timeout.
"""

import cv2
import numpy as np
import pytest
from helpers.camera_rig import (
    BEST_EFFORT,
    FRAME_ID,
    IMAGE_TOPICS,
    RELIABLE,
    CameraRig,
    image_message,
    node_maps,
    noise,
    pixels,
    rgb8,
)
from helpers.remote import WARN
from sensor_msgs.msg import CompressedImage

from emu_core.bags.images import ENCODINGS, to_rgb
from emu_core.registry import PLUGINS
from emu_core.runtime.dummy_model import make_dummy_model
from emu_perception.ros.dds import PROFILE_VARIABLES

HEIGHT, WIDTH = 48, 64
MAPS = [topic for topic in IMAGE_TOPICS if "overlay" not in topic]
PLUGIN = """
from emu_perception.node.outputs import add_image_output

add_image_output(
    "depth/inverse", "32FC1", "1 / metres", "0: sky", lambda frame: 1 / frame.perception.depth
)
"""


@pytest.fixture(scope="module")
def rig(domain, model, models):
    """A node that serves most tests, one after another; a plugin adds a topic."""
    plugin = models / "inverse_depth.py"
    plugin.write_text(PLUGIN)
    rig = CameraRig(domain, "/served", topics=[*IMAGE_TOPICS, "depth/inverse"])
    with rig.node("-p", f"model:={model}", **{PLUGINS: str(plugin)}):
        rig.wait_for_outputs()
        yield rig


def assert_maps(outputs, rgb):
    """Compare the maps with the dummy model's outputs for `rgb`, which has its input size."""
    expected = node_maps(rgb)
    assert np.array_equal(pixels(outputs["semantic/image"]), expected["labels"])
    uncertainty = pixels(outputs["semantic/uncertainty"])
    assert np.array_equal(uncertainty, expected["label_uncertainty"])
    # The dummy's uncertainty is G / 255, so its confidence is 255 − G.
    assert np.array_equal(pixels(outputs["semantic/confidence"]), 255 - rgb[..., 1])
    for topic, name in (("depth/image", "depth"), ("depth/uncertainty", "depth_std")):
        assert np.array_equal(pixels(outputs[topic]), expected[name], equal_nan=True)


# --- outputs


def test_every_topic_has_its_encoding_and_the_stamp_and_frame_id_of_the_image(rig):
    rgb = noise(1)
    outputs = rig.process_image(rgb8(rgb))
    encodings = {topic: getattr(message, "encoding", "") for topic, message in outputs.items()}
    assert encodings == {
        "semantic/image": "mono8",
        "semantic/confidence": "mono8",
        "semantic/uncertainty": "32FC1",
        "depth/image": "32FC1",
        "depth/uncertainty": "32FC1",
        "overlay": "bgr8",
        "overlay/compressed": "",
        "depth/inverse": "32FC1",
    }
    assert outputs["overlay/compressed"].format.endswith("jpeg compressed bgr8")
    headers = [message.header for message in outputs.values()]
    assert {header.frame_id for header in headers} == {FRAME_ID}
    assert len({(header.stamp.sec, header.stamp.nanosec) for header in headers}) == 1
    assert_maps(outputs, rgb)
    inverse, depth = pixels(outputs["depth/inverse"]), node_maps(rgb)["depth"]
    assert np.array_equal(inverse, 1 / depth, equal_nan=True) and np.isinf(depth).any()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_is_processed_exactly(rig, encoding):
    rows = HEIGHT * 3 // 2 if encoding in ("nv12", "nv21") else HEIGHT
    step = 4 * WIDTH + 3  # enough for each encoding, with padding
    message = image_message(encoding, WIDTH, HEIGHT, noise(3, rows, step)[..., 0], step=step)
    assert_maps(rig.process_image(message), to_rgb(message))


def test_big_endian_pixels_are_processed_exactly(rig):
    grey = noise(4)[..., 0]
    message = image_message("mono16", WIDTH, HEIGHT, (grey * np.uint16(257)).astype(">u2"))
    message.is_bigendian = 1
    assert_maps(rig.process_image(message), np.dstack([grey] * 3))


def test_images_of_any_size_are_resized_to_the_network(rig):
    rgb = noise(8)
    # Each pixel four times: averaging areas gives the small image back exactly.
    large = np.repeat(np.repeat(rgb, 2, axis=0), 2, axis=1)
    assert_maps(rig.process_image(rgb8(large)), rgb)
    wide = noise(9, 30, 100)
    resized = cv2.resize(wide, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    assert_maps(rig.process_image(rgb8(wide)), resized)
    assert_maps(rig.process_image(rgb8(rgb)), rgb)


def test_without_camera_info_depth_is_for_the_canonical_lens_with_one_warning(rig):
    rgb = noise(10)
    for _ in range(3):
        assert_maps(rig.process_image(rgb8(rgb)), rgb)
    assert rig.process.output.count("scale unverified") == 1


def test_the_log_names_the_model_and_its_provider(rig, model):
    line = rig.process.wait_for_line(r"model dummy .*").group()
    assert str(model) in line and "64x48" in line and "provider cpu" in line
    assert "sha256" in line and " s" in line


# --- refused images


def test_a_refused_image_is_logged_once_and_does_not_affect_the_next(rig):
    empty = image_message("rgb8", 0, 0, b"")
    rig.send(empty)
    rig.process.wait_for_line("image refused: image of 0x0 'rgb8'.*it has no pixels")
    for _ in range(3):
        rig.send(empty)
        rig.process_image(rgb8(noise(11)))
    assert rig.process.output.count("it has no pixels") == 1


# --- cameras


def test_raw_720p_reaches_reliable_and_best_effort_subscriptions(domain, models):
    model = make_dummy_model(models / "720p.onnx", (720, 1280))
    rig = CameraRig(domain, "/big", topics=MAPS, readers=(RELIABLE, BEST_EFFORT))
    rgb = noise(13, 720, 1280)
    with rig.node("-p", f"model:={model}"):
        rig.wait_for_outputs(rgb8(rgb))
        before = {key: len(box) for key, box in rig.received.items()}
        for _ in range(20):
            outputs = rig.process_image(rgb8(rgb))
        received = {key: len(box) - before[key] for key, box in rig.received.items()}
        assert received == dict.fromkeys(before, 20)
        assert_maps(outputs, rgb)


def test_with_the_stock_dds_profile_every_output_still_arrives(domain, models, tmp_path):
    """The user's profile is used; reliable messages of 1.6 MB may then take a second."""
    profile = tmp_path / "stock.xml"
    profile.write_text("<dds xmlns='http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles'/>")
    model = make_dummy_model(models / "wide.onnx", (512, 1024))
    rig = CameraRig(domain, "/stock", topics=["semantic/image", "depth/image"])
    rgb = noise(14, 512, 1024)
    with rig.node("-p", f"model:={model}", **dict.fromkeys(PROFILE_VARIABLES, str(profile))):
        rig.wait_for_outputs(rgb8(rgb))
        for _ in range(3):
            outputs = rig.process_image(rgb8(rgb))
        text = r"outputs of up to 14\.7 MB may be delayed: .*has 0\.5 MB"
        rig.remote.wait_for_status("output", WARN, text)
    assert np.array_equal(pixels(outputs["depth/image"]), node_maps(rgb)["depth"], True)


def test_compressed_images_come_from_the_topic_next_to_the_remapped_one(domain, model):
    image_topic = "front/camera/compressed"
    rig = CameraRig(
        domain, "/compressed", topics=MAPS, image=CompressedImage, image_topic=image_topic
    )
    parameters = ("-p", f"model:={model}", "-p", "image_transport:=compressed")
    with rig.node(*parameters, "-r", "image:=front/camera") as process:
        for extension in ("png", "jpg"):
            data = cv2.imencode(f".{extension}", cv2.GaussianBlur(noise(17), (0, 0), 5))[1]
            message = CompressedImage(format=extension)
            message.data.frombytes(data.tobytes())
            rig.wait_for_outputs(message)
            expected = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
            assert_maps(rig.process_image(message), expected)
        truncated = CompressedImage(format="jpg")
        truncated.data.frombytes(data.tobytes()[: len(data) // 2])
        rig.send(truncated)
        process.wait_for_line("image refused: compressed image.*truncated or damaged")
        rig.process_image(message)


def test_the_subscription_follows_the_reliability_of_the_camera(domain, model):
    rig = CameraRig(domain, "/lossy", topics=MAPS, offers=BEST_EFFORT)
    rgb = noise(18)
    with rig.node("-p", f"model:={model}") as process:
        rig.wait_for_outputs()
        assert_maps(rig.process_image(rgb8(rgb)), rgb)
        process.wait_for_line("is published as best effort: subscribed again as best effort")
        rig.replace_camera(RELIABLE)
        process.wait_for_line("is published as reliable: subscribed again as reliable")
        rig.wait_for_outputs()
        assert_maps(rig.process_image(rgb8(rgb)), rgb)
        assert process.stop() == 0
