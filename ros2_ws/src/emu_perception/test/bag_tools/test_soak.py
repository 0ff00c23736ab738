"""A long drive in lock-step: no frame is lost or answered twice, and memory does not grow.

`make test` includes a short drive; `make test-long` has 5,000 frames with the shipped model, and
two hours of bag time with the dummy.
"""

import json

import pytest

pytest.importorskip("onnx", reason="needs onnx, to make a model file")
pytest.importorskip("rosbags", reason="needs rosbags")

from helpers.camera_rig import CameraRig, counts
from helpers.contract import LONG
from helpers.drive_bags import IMAGE, PERIOD_NS, write_bag
from helpers.ros_processes import TIMEOUT_S, ChildProcess, module, stopping, wait_until

from emu_perception.node.statistics import resident_bytes

TWO_HOURS = 2 * 3600 * 10**9 // PERIOD_NS
ANSWERS = ("semantic/image", "depth/image")
GROWTH = 5_000_000  # bytes
BAG_FRAMES = 100


@pytest.mark.parametrize(
    ("shipped", "frames", "slowest_s"),
    [
        (False, 400, 0.2),
        pytest.param(True, 5_000, 1.0, marks=LONG),
        pytest.param(False, TWO_HOURS, 0.05, marks=LONG),
    ],
)
def test_a_long_drive_neither_loses_nor_repeats_frames_nor_leaks_memory(
    domain, model, tmp_path, shipped, frames, slowest_s
):
    rig = CameraRig(domain, f"/soak_{frames}", topics=())
    parameters = () if shipped else ("-p", f"model:={model}")
    with rig.node(*parameters) as node:
        drive(rig, node, tmp_path, BAG_FRAMES, slowest_s)  # the start takes memory
        sizes = drive(rig, node, tmp_path, frames, slowest_s)
        assert node.stop() == 0
    outcomes = counts(node)
    assert outcomes["processed"] == BAG_FRAMES + frames
    assert outcomes["dropped"] == outcomes["refused"] == outcomes["failed"] == 0
    assert max(sizes) - sizes[0] < GROWTH


def drive(rig, node, folder, frames, slowest_s):
    """Show the node so many frames in lock-step; returns sizes of its memory."""
    bag, report = folder / f"drive_{frames}", folder / f"play_{frames}.json"
    topics = [f"{rig.namespace}/emu_perception/{topic}" for topic in ANSWERS]
    command = module("player", write_bag(bag, BAG_FRAMES), "--loop", "--frames", str(frames))
    command += ["--report", report, "--remap", f"{IMAGE}:={rig.image_topic}", "--lock-step"]
    play, sizes = ChildProcess(*command, *topics, domain=rig.domain), []

    def measure():
        rig.ros.spin()
        sizes.append(resident_bytes(node.process.pid))

    timeout_s = TIMEOUT_S + frames * slowest_s
    with stopping(play):
        wait_until(lambda: play.process.poll() is not None, "the drive", measure, timeout_s)
    assert play.process.returncode == 0, play.output
    totals = json.loads(report.read_text())["totals"]
    assert totals["frames"] == frames and totals["unanswered"] == 0
    return sizes
