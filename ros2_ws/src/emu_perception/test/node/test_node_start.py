"""How the node's process starts and ends: its exit codes and its messages to the user."""

import os
import re
import signal
import sys

import pytest
from helpers.camera_rig import TOPICS, CameraRig, counts, gray
from helpers.ros_processes import ChildProcess, module


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_with_code_0_and_the_counts_of_its_images(domain, model, number):
    rig = CameraRig(domain, "/ended", topics=["semantic/image"])
    with rig.node("-p", f"model:={model}") as process:
        rig.wait_for_outputs()
        for _ in range(3):
            rig.process_image(gray())
        process.process.send_signal(number)
        assert process.wait() == 0
    totals = counts(process)
    assert totals["processed"] >= 4 and totals["refused"] == totals["failed"] == 0
    assert process.output.rstrip().splitlines()[-1].count("frames: ") == 1


def failed_start(domain, *arguments, **environment):
    """The line that a node prints before it ends by itself with code 1."""
    process = ChildProcess(*module("node", "--ros-args", *arguments), domain=domain, **environment)
    assert process.wait() == 1
    assert "Traceback" not in process.output
    lines = [line for line in process.output.splitlines() if line.startswith("emu_node: ")]
    assert len(lines) == 1, process.output
    return lines[0]


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("provider:=quantum", "expected one of cpu"),
        ("provider:=tensorrt", "cannot be used"),
        ("threads:=many", "INTEGER"),
        ("overlay_alpha:=7.0", "overlay_alpha"),
        ("max_rate:=10", "parameter max_rate: .*write 10.0, not 10"),
        ("use_sim_time:=maybe", "use_sim_time"),
        ("model:=~no_such_user/m.onnx", "no model file at ~no_such_user/m.onnx"),
    ],
)
def test_a_wrong_parameter_ends_the_start(domain, model, parameter, text):
    assert re.search(text, failed_start(domain, "-p", f"model:={model}", "-p", parameter))


def test_help_lists_every_parameter_and_topic(domain):
    process = ChildProcess(*module("node", "--help"), domain=domain)
    assert process.wait() == 0
    for word in ("allow_cpu_fallback", "image_transport", *(f"~/{topic}" for topic in TOPICS)):
        assert f"  {word} " in process.output


@pytest.mark.parametrize(
    ("package", "text"),
    [
        (
            "onnxruntime",
            "cannot configure: the Python package onnxruntime is not installed: "
            "pip install onnxruntime",
        ),
        ("rclpy", "the Python package rclpy is not installed: source the ROS 2 setup file"),
    ],
)
def test_a_missing_package_ends_the_start_with_advice(domain, tmp_path, package, text):
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError(name='{package}')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    assert failed_start(domain, PYTHONPATH=path) == f"emu_node: {text}"
