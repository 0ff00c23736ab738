"""Conditions on robots: killed nodes, jumping clocks, too many images."""

import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import labels
from helpers.camera_rig import BEST_EFFORT, RELIABLE, CameraRig, counts, gray, pinhole
from helpers.contract import LONG
from helpers.drive_bags import IMAGE, write_bag
from helpers.remote import OK, WARN
from helpers.ros_processes import ChildProcess, module, stopping, wait_until
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from emu_core.runtime.dummy_model import make_dummy_model
from emu_perception.node.outputs import OUTPUTS
from emu_perception.node.statistics import resident_bytes


def test_a_restarted_node_goes_on_with_the_same_player(domain, model, tmp_path):
    """1. node and player run; 2. SIGKILL; 3. a new node; 4. it processes the player's images."""
    rig = CameraRig(domain, "/killed", topics=["semantic/image"])
    box = rig.received["semantic/image", RELIABLE]
    play = ChildProcess(
        *module("player", write_bag(tmp_path / "drive", frames=40), "--loop"),
        *("--remap", f"{IMAGE}:={rig.image_topic}"),
        domain=domain,
    )
    with stopping(play):
        for _ in range(2):
            node = rig.start_node("-p", f"model:={model}")
            with stopping(node):
                rig.ros.wait_until(lambda: len(box) > 5, "outputs")
                node.process.kill()
                node.wait()
            box.clear()
        assert play.process.poll() is None, play.output
    rig.ros.close()


def test_ages_follow_simulated_time_even_if_it_stands_still_or_jumps_back(domain, model):
    rig = CameraRig(domain, "/simulated", topics=["depth/image"])
    clock = rig.ros.node.create_publisher(Clock, "/clock", 10)
    message = gray()

    def show(second, age_ns):
        """A function that sets the clock and publishes an image of this age."""

        def spin():
            now = Clock()
            now.clock.sec = second
            clock.publish(now)
            rig.send(message, None, divmod(second * 10**9 - age_ns, 10**9))
            rig.ros.spin()

        return spin

    with rig.node("-p", f"model:={model}", "-p", "use_sim_time:=true") as process:
        remote = rig.remote
        rig.wait_for_node()
        text = "nothing was received on /clock"
        remote.wait_for_status("output", WARN, text, lambda: rig.show(message))
        # Not at once: an age may be measured before the clock has arrived.
        remote.wait_for_status("output", OK, "age 100 ms", show(1000, 100_000_000))
        remote.wait_for_status("output", OK, "age 30 ms", show(500, 30_000_000))
        process.wait_for_line("ROS clock jumped; resetting age statistics")
        assert remote.values("output")["age p99"] == "30.0 ms", "without the ages before"
        beats = remote.beats
        rig.ros.wait_until(lambda: remote.beats >= beats + 2, "heartbeats of a stopped clock")


# --- floods


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=LONG)])
def test_200_hz_for_a_slow_node_keep_ages_below_two_inferences_and_memory_constant(
    domain, models, seconds
):
    model = make_dummy_model(models / "slower.onnx", (1536, 3072))
    rig = CameraRig(domain, f"/flooded_{seconds}", topics=["semantic/image"])
    box = rig.received["semantic/image", RELIABLE]
    message = gray()
    received = []  # time of receipt, age

    def send():
        rig.send(message, None, divmod(time.time_ns(), 10**9))

    def spin():
        before = len(box)
        rig.ros.spin()
        if len(box) > before:
            sec, nanosec = max(box)
            now = time.time_ns()
            received.append((now / 1e9, (now - sec * 10**9 - nanosec) / 1e9))

    with rig.node("-p", f"model:={model}", "-p", "threads:=1") as process:
        rig.wait_for_node()
        timer = rig.ros.node.create_timer(1 / 200, send)
        wait_until(lambda: len(received) >= 10, "the first outputs", spin)
        pid = process.process.pid
        before, sent = resident_bytes(pid), rig.frames
        start = time.monotonic()
        wait_until(
            lambda: time.monotonic() - start > seconds, "the flood", spin, timeout_s=seconds + 30
        )
        grown, flood = resident_bytes(pid) - before, (rig.frames - sent) / seconds
        rig.ros.node.destroy_timer(timer)
        assert process.stop() == 0
    times, ages = np.transpose(received[10:])
    inference = np.diff(times)
    assert flood > 3 / np.median(inference), "this machine is too slow for this test"
    assert np.median(ages) < 2 * np.median(inference)
    assert np.percentile(ages, 95) < 2 * np.percentile(inference, 95)
    assert grown < 5e6, f"{grown / 1e6:.1f} MB"
    totals = counts(process)
    assert totals["dropped"] > totals["processed"] > 0 and totals["failed"] == 0


# --- large images


@LONG
def test_raw_720p_at_10_hz_reaches_reliable_and_best_effort_readers_of_every_usual_output(
    domain, models
):
    model = make_dummy_model(models / "as_shipped.onnx", (384, 768))
    rig = CameraRig(domain, "/ten_hertz", topics=(), calibrated=True)
    rig.ros.node.destroy_publisher(rig.camera)
    seen = {
        (topic, reliability): stamps_of(rig, topic, output.kind, reliability)
        for topic, output in OUTPUTS.items()
        if not output.optional
        for reliability in (RELIABLE, BEST_EFFORT)
    }
    script = Path(__file__).parents[1] / "helpers" / "sending_camera.py"
    with rig.node("-p", f"model:={model}", **labels.with_vision_msgs()) as process:
        rig.ros.wait_until(rig.info.get_subscription_count, "the subscription to camera_info")
        rig.info.publish(pinhole(800.0, 1280, 720))
        image = (f"{rig.namespace}/image", "1280", "720", "10", "reliable")
        camera = ChildProcess(sys.executable, script, *image, domain=domain)
        with stopping(camera):
            wait_until(
                lambda: max(map(len, seen.values())) >= 300, "30 s", rig.ros.spin, timeout_s=60
            )
        sent = int(camera.wait_for_line(r"sent (\d+)").group(1))
        latest = max(max(stamps) for stamps in seen.values())
        rig.ros.wait_until(lambda: all(latest in s for s in seen.values()), "the last outputs")
        assert process.stop() == 0
    assert counts(process)["processed"] >= 0.99 * sent
    for reader, stamps in seen.items():
        assert len(stamps) == len(set(stamps)) >= 0.99 * sent, reader


def stamps_of(rig, topic, kind, reliability):
    """A list that fills with the stamps of a topic's messages, which are not deserialised."""
    stamps = []
    rig.ros.node.create_subscription(
        kind,
        f"{rig.namespace}/emu_perception/{topic}",
        lambda data: stamps.append(struct.unpack_from("=iI", data, 4)),  # after CDR's 4 bytes
        QoSProfile(depth=20, reliability=reliability),
        raw=True,
    )
    return stamps
