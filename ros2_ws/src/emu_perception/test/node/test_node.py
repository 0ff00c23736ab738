"""The node as a process, over real DDS, with a model whose answers are known exactly.

Every test: a rig in this process publishes images and reads the answers of `emu_node`, which runs
as another process. Nothing sleeps; everything waits for a condition, with a timeout.
"""

from functools import partial

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")
pytest.importorskip("onnx", reason="needs onnx, to make a model file")

from diagnostic_msgs.msg import DiagnosticStatus
from helpers.camera_rig import (
    BEST_EFFORT,
    FRAME_ID,
    MAPS,
    RELIABLE,
    CameraRig,
    counts,
    image_message,
    pixels,
)
from helpers.remote import Remote
from sensor_msgs.msg import CameraInfo, CompressedImage

from emu_core.labels import CITYSCAPES
from emu_core.runtime.dummy_model import dummy_outputs, make_dummy_model
from emu_core.runtime.overlay import blend

HEIGHT, WIDTH = 48, 64
MASKS_AND_MAPS = [topic for topic in MAPS if "overlay" not in topic]


@pytest.fixture(scope="module")
def rig(domain, model):
    """A node that serves most tests, one after another."""
    rig = CameraRig(domain, "/served")
    with rig.node("-p", f"model:={model}") as process:
        rig.process = process
        rig.wait_for_answers()
        yield rig


def picture(seed=0, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def rgb8(rgb):
    return image_message("rgb8", rgb.shape[1], rgb.shape[0], rgb)


def assert_answers(answers, rgb, depth_scale=1.0):
    """The answers are those of the dummy model to `rgb`, which has its input size."""
    expected = dummy_outputs(rgb)
    scale = np.float32(depth_scale)
    labels, uncertainty = expected["labels"], expected["label_uncertainty"]
    assert np.array_equal(pixels(answers["semantic/image"]), labels)
    assert np.array_equal(pixels(answers["semantic/uncertainty"]), uncertainty)
    # The dummy's uncertainty is G / 255, so its confidence is 255 − G.
    assert np.array_equal(pixels(answers["semantic/confidence"]), 255 - rgb[..., 1])
    for topic, name in (("depth/image", "depth"), ("depth/uncertainty", "depth_std")):
        values = pixels(answers[topic])
        np.testing.assert_allclose(values, expected[name] * scale, rtol=1e-6)


# --- what comes out


def test_every_topic_has_the_contracts_encoding_and_the_image_stamp_and_frame(rig):
    rgb = picture(1)
    answers = rig.ask(rgb8(rgb))
    encodings = {topic: getattr(a, "encoding", a) for topic, a in answers.items()}
    assert encodings.pop("overlay/compressed").format.endswith("jpeg compressed bgr8")
    assert encodings == {
        "semantic/image": "mono8",
        "semantic/confidence": "mono8",
        "semantic/uncertainty": "32FC1",
        "depth/image": "32FC1",
        "depth/uncertainty": "32FC1",
        "overlay": "bgr8",
    }
    assert {a.header.frame_id for a in answers.values()} == {FRAME_ID}
    assert len({(a.header.stamp.sec, a.header.stamp.nanosec) for a in answers.values()}) == 1
    assert_answers(answers, rgb)


def test_the_overlay_is_the_blend_in_bgr_and_its_jpeg_nearly_the_same(rig):
    rgb = cv2.GaussianBlur(picture(2), (0, 0), 5)
    answers = rig.ask(rgb8(rgb))
    expected = dummy_outputs(rgb)
    overlay = blend(rgb, expected["labels"], expected["label_uncertainty"], CITYSCAPES, 0.5)
    assert np.array_equal(pixels(answers["overlay"]), overlay[..., ::-1])
    data = np.frombuffer(answers["overlay/compressed"].data, np.uint8)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert np.abs(decoded.astype(int) - overlay[..., ::-1]).mean() < 6


GRAY = picture(3)[..., 0]
YUV = picture(4)[..., :2]
PLANES = picture(5, HEIGHT * 3 // 2)[..., 0]


@pytest.mark.parametrize(
    ("encoding", "data", "rgb"),
    [
        ("rgb8", picture(3), picture(3)),
        ("bgr8", picture(3)[..., ::-1], picture(3)),
        ("8UC3", picture(3)[..., ::-1], picture(3)),
        ("rgba8", np.dstack([picture(3), GRAY]), picture(3)),
        ("bgra8", np.dstack([picture(3)[..., ::-1], GRAY]), picture(3)),
        ("mono8", GRAY, np.dstack([GRAY] * 3)),
        ("mono16", GRAY * np.uint16(257), np.dstack([GRAY] * 3)),
        ("bayer_rggb8", GRAY, cv2.cvtColor(GRAY, cv2.COLOR_BayerBG2RGB)),
        ("bayer_bggr8", GRAY, cv2.cvtColor(GRAY, cv2.COLOR_BayerRG2RGB)),
        ("bayer_gbrg8", GRAY, cv2.cvtColor(GRAY, cv2.COLOR_BayerGR2RGB)),
        ("bayer_grbg8", GRAY, cv2.cvtColor(GRAY, cv2.COLOR_BayerGB2RGB)),
        ("yuv422", YUV, cv2.cvtColor(YUV, cv2.COLOR_YUV2RGB_UYVY)),
        ("yuv422_yuy2", YUV, cv2.cvtColor(YUV, cv2.COLOR_YUV2RGB_YUY2)),
        ("nv12", PLANES, cv2.cvtColor(PLANES, cv2.COLOR_YUV2RGB_NV12)),
        ("nv21", PLANES, cv2.cvtColor(PLANES, cv2.COLOR_YUV2RGB_NV21)),
    ],
)
def test_every_encoding_is_answered_exactly(rig, encoding, data, rgb):
    step = {"nv12": WIDTH, "nv21": WIDTH}.get(encoding, data[0].nbytes)
    assert_answers(rig.ask(image_message(encoding, WIDTH, HEIGHT, data, step=step)), rgb)


def test_padded_rows_and_big_endian_pixels_are_answered_exactly(rig):
    rgb = picture(6)
    rows = np.hstack([rgb.reshape(HEIGHT, -1), picture(7)[:, :11, 0]])
    assert_answers(rig.ask(image_message("rgb8", WIDTH, HEIGHT, rows)), rgb)
    deep = image_message("mono16", WIDTH, HEIGHT, (GRAY * np.uint16(257)).astype(">u2"))
    deep.is_bigendian = 1
    assert_answers(rig.ask(deep), np.dstack([GRAY] * 3))


def test_images_of_any_size_are_resized_to_the_network(rig):
    rgb = picture(8)
    # Each pixel four times: averaging areas gives the small picture back exactly.
    large = np.repeat(np.repeat(rgb, 2, axis=0), 2, axis=1)
    assert_answers(rig.ask(rgb8(large)), rgb)
    wide = picture(9, 30, 100)
    assert_answers(
        rig.ask(rgb8(wide)), cv2.resize(wide, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    )
    assert_answers(rig.ask(rgb8(rgb)), rgb)


def test_without_camera_info_depth_holds_for_the_canonical_lens_and_one_warning_says_so(rig):
    rgb = picture(10)
    for _ in range(3):
        assert_answers(rig.ask(rgb8(rgb)), rgb)
    assert rig.process.output.count("scale unverified") == 1


def test_the_start_says_which_model_runs_where(rig, model):
    line = rig.process.wait_for_line(r"model dummy .*").group()
    assert str(model) in line and "64x48" in line and "provider cpu" in line
    assert "sha256" in line and " s" in line


# --- what is refused


def test_a_zero_size_image_is_refused_in_one_line_and_the_node_goes_on(rig):
    rig.send(image_message("rgb8", 0, 0, b""))
    rig.process.wait_for_line("image refused: image of 0x0 'rgb8'.*it has no pixels")
    for _ in range(3):
        rig.send(image_message("rgb8", 0, 0, b""))
        rig.ask(rgb8(picture(11)))
    assert rig.process.output.count("it has no pixels") == 1


def malformed(random):
    """A message whose fields were drawn without regard to one another."""
    encodings = ["rgb8", "bgr8", "mono8", "mono16", "yuv422", "nv12", "bayer_rggb8", "32FC1", "?"]
    sizes = [0, 1, 3, WIDTH, 10_000, 2**32 - 1]
    message = image_message(
        str(random.choice(encodings)),
        int(random.choice(sizes)),
        int(random.choice(sizes)),
        random.integers(0, 256, random.integers(0, 2000), np.uint8).tobytes(),
    )
    message.step = int(random.choice([0, 1, WIDTH, 3 * WIDTH, 2**32 - 1]))
    message.is_bigendian = int(random.integers(0, 256))
    return message


def test_300_malformed_messages_leave_a_node_that_answers_and_counts_them(domain, model):
    random = np.random.default_rng(12)
    rgb = picture(12)
    rig = CameraRig(domain, "/malformed", topics=["semantic/image"])
    with rig.node("-p", f"model:={model}") as process:
        rig.wait_for_answers()
        for _ in range(300):
            rig.send(malformed(random))
            answers = rig.ask(rgb8(rgb))
        assert np.array_equal(pixels(answers["semantic/image"]), dummy_outputs(rgb)["labels"])
        assert process.stop() == 0
    told = counts(process)
    assert told["in"] >= 600 and told["failed"] == 0
    assert told["refused"] >= 1, "others may be replaced by a good one before their turn"
    assert told["in"] == told["answered"] + told["refused"] + told["dropped"] + told["unheard"]
    refusals = process.output.count("image refused")
    assert 1 <= refusals <= 8, "one line per kind"
    assert "Traceback" not in process.output


# --- cameras


def test_raw_720p_from_another_process_reaches_reliable_and_best_effort_readers(domain, models):
    model = make_dummy_model(models / "720p.onnx", (720, 1280))
    rig = CameraRig(domain, "/big", topics=MASKS_AND_MAPS, readers=(RELIABLE, BEST_EFFORT))
    rgb = picture(13, 720, 1280)
    with rig.node("-p", f"model:={model}"):
        rig.wait_for_answers(rgb8(rgb))
        before = {key: len(box) for key, box in rig.received.items()}
        for _ in range(20):
            answers = rig.ask(rgb8(rgb))
        assert {key: len(box) - before[key] for key, box in rig.received.items()} == dict.fromkeys(
            before, 20
        )
        assert_answers(answers, rgb)


STOCK = """<?xml version="1.0"?>
<dds xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"><profiles>
<participant profile_name="stock" is_default_profile="true"><rtps/></participant>
</profiles></dds>"""


def test_with_stock_transports_of_the_users_choice_every_answer_still_comes(
    domain, models, tmp_path
):
    """A user's own profile is respected; reliable answers of 1.6 MB may then take a second."""
    profile = tmp_path / "stock.xml"
    profile.write_text(STOCK)
    model = make_dummy_model(models / "wide.onnx", (512, 1024))
    rig = CameraRig(domain, "/stock", topics=["semantic/image", "depth/image"])
    rgb = picture(14, 512, 1024)
    with rig.node("-p", f"model:={model}", FASTRTPS_DEFAULT_PROFILES_FILE=str(profile)):
        rig.wait_for_answers(rgb8(rgb))
        for _ in range(5):
            answers = rig.ask(rgb8(rgb))
    assert np.array_equal(pixels(answers["depth/image"]), dummy_outputs(rgb)["depth"], True)


def test_the_lens_scales_depth_and_gives_it_a_camera_info(domain, model):
    rig = CameraRig(domain, "/lens", topics=[*MAPS, "depth/camera_info"], calibrated=True)
    rgb = picture(15)
    large = np.repeat(np.repeat(rgb, 2, axis=0), 2, axis=1)  # 128x96: half of it is the network's
    info = CameraInfo(width=128, height=96, distortion_model="plumb_bob", d=[0.1] * 5)
    info.k = np.array([240, 0, 63.5, 0, 240, 47.5, 0, 0, 1.0])
    info.r = np.eye(3).ravel()
    info.p = np.array([240, 0, 63.5, -24, 0, 240, 47.5, 0, 0, 0, 1.0, 0])
    with rig.node("-p", f"model:={model}") as process:
        rig.wait_for_answers(rgb8(large), info)
        answers = rig.ask(rgb8(large), info)
        assert_answers(answers, rgb, depth_scale=1.2)
        process.wait_for_line(r"scale: camera 120 px vs canonical 100 px -> x1\.200")
        made = answers["depth/camera_info"]
        assert (made.width, made.height) == (WIDTH, HEIGHT)
        assert made.k.tolist() == [120, 0, 31.5, 0, 120, 23.5, 0, 0, 1]
        assert made.p.tolist() == [120, 0, 31.5, -12, 0, 120, 23.5, 0, 0, 0, 1, 0]
        assert made.header == answers["depth/image"].header
        # A cut-out whose place in the image nobody knows:
        stamp = rig.send(rgb8(picture(16)[:20]), info)
        rig.ros.wait_until(
            lambda: all(stamp in box for (t, _), box in rig.received.items() if "info" not in t),
            "answers without camera_info",
        )
        process.wait_for_line("scale unverified: camera_info describes a 128x96 image")
        assert "unverified: no camera_info" not in process.output, "the first frame had its lens"


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_compressed_images_come_from_beside_the_remapped_topic(domain, model, extension):
    rig = CameraRig(
        domain,
        f"/compressed_{extension[1:]}",
        topics=MASKS_AND_MAPS,
        image=CompressedImage,
        image_topic="front/camera/compressed",
    )
    rgb = cv2.GaussianBlur(picture(17), (0, 0), 5)
    data = cv2.imencode(extension, rgb[..., ::-1])[1]
    message = CompressedImage(format=extension[1:])
    message.data.frombytes(data.tobytes())
    parameters = ["-p", f"model:={model}", "-p", "image_transport:=compressed"]
    with rig.node(*parameters, "-r", "image:=front/camera") as process:
        rig.wait_for_answers(message)
        assert_answers(rig.ask(message), cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
        broken = CompressedImage(format="jpeg")
        broken.data.frombytes(data.tobytes()[: len(data) // 2])
        rig.send(broken)
        process.wait_for_line("image refused: compressed image.*truncated or damaged")
        rig.ask(message)


def test_a_best_effort_camera_makes_the_node_subscribe_again_and_back(domain, model):
    rig = CameraRig(domain, "/lossy", topics=MASKS_AND_MAPS, offers=BEST_EFFORT)
    rgb = picture(18)
    with rig.node("-p", f"model:={model}") as process:
        rig.wait_for_answers()
        assert_answers(rig.ask(rgb8(rgb)), rgb)
        process.wait_for_line("is published best effort: subscribed again as best effort")
        rig.ros.node.destroy_publisher(rig.camera)
        rig.camera = rig.make_camera(RELIABLE)
        process.wait_for_line("is published reliable: subscribed again as reliable")
        rig.wait_for_node()
        rig.wait_for_answers()
        assert_answers(rig.ask(rgb8(rgb)), rgb)
        assert process.stop() == 0


def test_a_reliability_that_the_user_fixed_stays_and_the_node_says_why_nothing_comes(
    domain, model
):
    rig = CameraRig(domain, "/fixed", topics=[], offers=BEST_EFFORT)
    fixed = "qos_overrides./fixed/image.subscription.reliability:=reliable"
    with rig.node("-p", f"model:={model}", "-p", fixed) as process:
        process.wait_for_line("nothing comes from it")
        assert rig.camera.get_subscription_count() == 0


# --- load


def test_a_slow_node_answers_the_newest_frame_and_counts_the_rest(domain, models):
    model = make_dummy_model(models / "slow.onnx", (2048, 4096), (HEIGHT, WIDTH))
    rig = CameraRig(domain, "/slow", topics=["semantic/image"])
    with rig.node("-p", f"model:={model}", "-p", "threads:=1") as process:
        rig.wait_for_answers()
        box = rig.received["semantic/image", RELIABLE]
        box.clear()
        sent = 0
        while len(box) == sent < 300:  # on a busy machine the node may keep up with a burst
            stamps = [rig.send(image_message("mono8", 8, 8, bytes(64))) for _ in range(10)]
            sent += len(stamps)
            rig.ros.wait_until(partial(box.__contains__, stamps[-1]), f"the newest of {sent}")
        assert list(box) == sorted(box), "never an older frame after a newer one"
        assert len(box) < sent
        assert process.stop() == 0
    told = counts(process)
    assert told["dropped"] >= 1
    assert told["in"] == told["answered"] + told["dropped"] + told["unheard"]


def test_nothing_is_computed_where_nobody_listens(domain, model):
    rig = CameraRig(domain, "/unheard", topics=[])
    with rig.node("-p", f"model:={model}") as process:
        remote = Remote(rig.ros, "/unheard/emu_perception")
        rig.wait_for_node()

        def send():
            rig.send(image_message("rgb8", 0, 0, b""))  # whoever looks at it refuses it
            rig.ros.spin()

        remote.wait_for_status("answers", DiagnosticStatus.OK, "nobody subscribes", send)
        assert process.stop() == 0
    told = counts(process)
    assert told["answered"] == told["refused"] == told["failed"] == 0
    assert told["in"] == told["unheard"] + told["dropped"] >= 1
    assert told["unheard"] >= 1
