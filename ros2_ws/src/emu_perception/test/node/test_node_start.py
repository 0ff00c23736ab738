"""How the node's process starts and ends: exit codes, and what it says to its user."""

import os
import signal
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")
pytest.importorskip("onnx", reason="needs onnx, to make a model file")

from helpers.camera_rig import MAPS, CameraRig, counts, image_message
from helpers.ros_processes import ChildProcess, module

from emu_core.runtime.dummy_model import make_dummy_model


def test_ctrl_c_ends_the_node_with_code_0_and_a_count_of_its_frames(domain, model):
    for number in (signal.SIGINT, signal.SIGTERM):
        rig = CameraRig(domain, "/ended", topics=["semantic/image"])
        with rig.node("-p", f"model:={model}") as process:
            rig.wait_for_answers()
            for _ in range(3):
                rig.ask(image_message("mono8", 8, 8, bytes(64)))
            process.process.send_signal(number)
            assert process.wait() == 0
        told = counts(process)
        assert told["answered"] >= 4 and told["refused"] == told["failed"] == 0
        assert process.output.rstrip().splitlines()[-1].count("frames: ") == 1


def fails_to_start(domain, *parameters):
    """What a node says that ends by itself with code 1."""
    process = ChildProcess(*module("node", "--ros-args", *parameters), domain=domain)
    assert process.wait() == 1
    assert "Traceback" not in process.output
    lines = [line for line in process.output.splitlines() if line.startswith("emu_node: ")]
    assert len(lines) == 1, process.output
    return lines[0]


@pytest.mark.parametrize(
    ("damage", "said"),
    [("missing", "no model file"), ("truncated", "truncated"), ("no EMU model", "no EMU model")],
)
def test_a_model_file_that_is_none_ends_the_start_with_one_line_and_code_1(
    domain, model, tmp_path, damage, said
):
    path = tmp_path / "given.onnx"
    if damage == "truncated":
        path.write_bytes(model.read_bytes()[:3000])
    elif damage == "no EMU model":
        make_dummy_model(path, metadata={"emu.format_version": None})
    line = fails_to_start(domain, "-p", f"model:={path}")
    assert str(path) in line and said in line


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("provider:=quantum", "expected one of cpu"),
        ("provider:=tensorrt", "cannot be used"),
        ("threads:=many", "INTEGER"),
        ("overlay_alpha:=7.0", "overlay_alpha"),
        ("use_sim_time:=maybe", "use_sim_time"),
        ("model:=~no_such_user/m.onnx", "no model file at ~no_such_user/m.onnx"),
    ],
)
def test_a_wrong_parameter_ends_the_start_with_one_line_and_code_1(domain, model, parameter, said):
    assert said in fails_to_start(domain, "-p", f"model:={model}", "-p", parameter)


def test_help_lists_every_parameter_and_topic(domain):
    process = ChildProcess(*module("node", "--help"), domain=domain)
    assert process.wait() == 0
    for word in ("allow_cpu_fallback", "image_transport", *(f"~/{topic}" for topic in MAPS)):
        assert f"  {word} " in process.output


def test_without_onnxruntime_the_start_says_how_to_get_it(domain, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("raise ModuleNotFoundError(name='onnxruntime')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    process = ChildProcess(
        sys.executable, "-m", "emu_perception.node", domain=domain, PYTHONPATH=path
    )
    assert process.wait() == 1
    assert process.output == (
        "emu_node: cannot configure: the Python package onnxruntime is missing here: "
        "pip install onnxruntime\n"
    )


def test_without_ros_the_start_says_what_to_do(domain, tmp_path):
    (tmp_path / "rclpy.py").write_text("raise ModuleNotFoundError(name='rclpy')")
    process = ChildProcess(
        sys.executable, "-m", "emu_perception.node", domain=domain, PYTHONPATH=str(tmp_path)
    )
    assert process.wait() == 1
    assert process.output == (
        "emu_node: the Python package rclpy is missing here: source the ROS 2 setup file\n"
    )
