"""How the node's process starts and ends: its exit codes and its messages to the user."""

import os
import signal
import sys

import pytest
from helpers.camera_rig import TOPICS, CameraRig, counts, gray
from helpers.ros_processes import ChildProcess, module

from emu_core.registry import PLUGINS


def test_sigterm_ends_even_a_finalized_node_with_code_0_and_the_counts(domain, model):
    rig = CameraRig(domain, "/ended", topics=["semantic/image"])
    with rig.node("-p", f"model:={model}") as process:
        rig.wait_for_outputs()
        for _ in range(3):
            rig.process_image(gray())
        assert rig.remote.change("deactivate") and rig.remote.change("shutdown")
        assert rig.remote.state() == "finalized"
        process.process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    totals = counts(process)
    assert totals["processed"] >= 4 and totals["refused"] == totals["failed"] == 0
    assert process.output.rstrip().splitlines()[-1].count("frames: ") == 1


@pytest.mark.parametrize(
    "environment",
    [
        {"HOME": ""},
        {"HOME": "/dev/null"},
        {"TMPDIR": "/no/such", "MPLCONFIGDIR": ""},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids="+".join,
)
def test_a_node_runs_as_a_service_without_a_home_folder_or_utf_8(domain, model, environment):
    space = "/service_" + "_".join(environment).lower()
    rig = CameraRig(domain, space, topics=[])
    no_logs = {"ROS_LOG_DIR": "", "ROS_HOME": ""}
    with rig.node("-p", f"model:={model}", **no_logs, **environment) as process:
        rig.wait_for_node()
    assert process.process.returncode == 0, process.output


def test_log_files_are_written_where_the_user_wants_them(domain, tmp_path):
    assert "quantum" in failed_start(
        domain, "-p", "provider:=quantum", ROS_LOG_DIR=str(tmp_path), HOME="/dev/null"
    )
    assert len(list(tmp_path.glob("*.log"))) == 1


def test_a_log_folder_that_cannot_be_made_ends_the_start(domain):
    assert "/dev/null/log" in failed_start(domain, ROS_LOG_DIR="/dev/null/log")


def failed_start(domain, *arguments, **environment):
    """The line that a node prints before it ends by itself with code 1."""
    process = ChildProcess(*module("node", "--ros-args", *arguments), domain=domain, **environment)
    assert process.wait() == 1
    assert "Traceback" not in process.output
    (line,) = [line for line in process.output.splitlines() if line.startswith("emu_node: ")]
    return line


@pytest.mark.parametrize("parameter", ["use_sim_time:=maybe", "provider:=quantum"])
def test_a_wrong_parameter_ends_the_start(domain, parameter):
    assert parameter.partition(":")[0] in failed_start(domain, "-p", parameter)


@pytest.mark.parametrize(
    ("package", "text"),
    [("onnxruntime", "pip install onnxruntime"), ("rclpy", "source the ROS 2 setup file")],
)
def test_a_missing_package_ends_the_start_with_advice(domain, tmp_path, package, text):
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError(name='{package}')")
    line = failed_start(domain, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert line.endswith(f"the Python package {package} is not installed: {text}")


def test_a_broken_plugin_ends_the_start(domain, tmp_path):
    plugin = tmp_path / "broken.py"
    plugin.write_text("1 / 0")
    assert failed_start(domain, **{PLUGINS: str(plugin)}) == (
        f"emu_node: The plugin {plugin} of EMU_PLUGINS cannot be imported "
        "(ZeroDivisionError: division by zero)."
    )


def test_help_lists_every_parameter_and_topic_and_those_of_plugins(domain, tmp_path):
    plugin = tmp_path / "inverse_depth.py"
    plugin.write_text(
        "from emu_perception.node.outputs import add_image_output\n"
        "add_image_output('depth/inverse', '32FC1', '1 / metres', '0: sky', None)\n"
    )
    process = ChildProcess(*module("node", "--help"), domain=domain, **{PLUGINS: str(plugin)})
    assert process.wait() == 0
    for word in ("allow_cpu_fallback", "image_transport", *(f"~/{topic}" for topic in TOPICS)):
        assert f"  {word} " in process.output
    line = "  ~/depth/inverse          Image 32FC1             1 / metres; 0: sky"
    assert line in process.output
