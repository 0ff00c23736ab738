"""The commands of docs/own_data.md, on a small bag: from the bag to a node with three classes.

The short test uses small images and few steps. EMU_LONG_TESTS runs the commands as they are
printed, and compares the result with a training from random weights.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import yaml
import yard

from emu_core.runtime.perceiver import Perceiver

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
LOOP = re.findall(r"^### (\d\. .*)$", PAGE, re.MULTILINE)
LONG = bool(os.environ.get("EMU_LONG_TESTS"))
SHORT = "--run.steps 2 --data.batch 2 --data.workers 0"
SHORT += " --data.augmentation.height 64 --data.augmentation.width 96"
TRAIN = "python training/train_teacher.py"

ROS2 = f"""#!{sys.executable}
# The program ros2 of the page's commands: the wheels of rclpy do not have it.
import os, sys
arguments = sys.argv[1:]
if arguments[:2] == ["run", "emu_perception"]:
    module = "emu_perception." + arguments[2].replace("emu_node", "node")
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments[3:]])
assert arguments[:2] == ["topic", "echo"], arguments
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile
from vision_msgs.msg import LabelInfo
rclpy.init()
node, received = rclpy.create_node("echo"), []
latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
node.create_subscription(LabelInfo, arguments[-1], received.append, latched)
while not received:
    rclpy.spin_once(node)
print(received[0])
"""


def blocks(heading, language="sh"):
    """The blocks of a section with a language; the test runs those of sh."""
    section = re.split(r"^#+ ", PAGE.split(f"# {heading}\n")[1], flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


@pytest.fixture
def start(tmp_path):
    """Function that starts a command of the page in tmp_path."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ros2").write_text(ROS2)
    (tmp_path / "bin" / "ros2").chmod(0o755)
    for name in ("training", "emu_core"):
        (tmp_path / name).symlink_to(ROOT / name)
    helpers = ROOT / "ros2_ws/src/emu_perception/test/helpers/stand_ins"
    paths = [*sys.path, *([] if find_spec("vision_msgs") else [str(helpers)])]
    search = [str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {"PATH": ":".join(search), "PYTHONPATH": ":".join(filter(None, paths))}
    environment["OMP_NUM_THREADS"] = "1"  # on a busy machine, threads wait for each other

    def call(command, **variables):
        return subprocess.Popen(
            ["bash", "-ec", command],
            cwd=tmp_path,
            env={**os.environ, **environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return call


@pytest.fixture
def type_(start, run, capsys):
    """Function that runs a block of the page; returns its output."""

    def call(block, **variables):
        begun, command = time.monotonic(), block.replace("\\\n", " ").strip()
        if command.startswith("python training/") and not LONG:  # saves imports of torch
            command += f" {SHORT}" if command.startswith(TRAIN) else ""
            _, program, *arguments = shlex.split(command)
            status, output = run(Path(program).stem, *arguments), ""
        else:
            with start(block, **variables) as process:
                try:
                    output, _ = process.communicate(timeout=900)
                finally:
                    process.kill()
                status = process.returncode
        with capsys.disabled():
            if LONG:
                print(f"\n$ {block}{output}took {time.monotonic() - begun:.0f} s")
        assert status == 0, f"{block}\n{output}"
        return output

    return call


def test_the_loop_of_the_page_ends_with_a_node_that_names_ones_own_classes(start, type_, tmp_path):
    begun = time.monotonic()
    yard.write_bag(tmp_path / "yard_drive", *((70, 320, 240) if LONG else (16, 96, 72)))
    assert len(LOOP) == 7
    for step in LOOP[:-1]:
        output = "".join(map(type_, blocks(step)))
        if "label" in step:
            yard.draw_labels(tmp_path / "data" / "yard")
        for printed in blocks(step, "text") if LONG else ():
            assert printed in output
    names = tuple(yard.CLASSES.values())
    assert Perceiver(tmp_path / "runs/yard/yard.onnx").info.classes.names == names
    node_command, echo = blocks(LOOP[-1])
    output = names_of_the_node(start, type_, node_command, echo)
    assert output is None or all(name in output for name in names)
    if LONG:
        assert time.monotonic() - begun < 900
        compare_with_random_weights(type_, tmp_path / "runs" / "comparison")


def compare_with_random_weights(type_, folder):
    """Train again from random weights: the start from the shipped model must be better."""
    for block in blocks("What the start from the shipped model is worth"):
        type_(block)
    table = pd.read_csv(folder / "evaluation.csv").set_index(["method", "metric"])["mean"]
    shipped, scratch = table["shipped"], table["scratch"]
    assert shipped["miou"] > scratch["miou"] + 0.02
    assert shipped["rmse"] < 0.9 * scratch["rmse"]


def names_of_the_node(start, type_, node_command, echo):
    """Start the node and return what the second command prints; None without ROS."""
    if find_spec("rclpy") is None:
        return None
    coordinator = pytest.importorskip("domain_coordinator")
    from emu_perception.ros import dds
    from emu_perception.ros.distro import localhost_only

    with coordinator.domain_id() as domain:
        variables = {**dds.environment(), **localhost_only(), "ROS_DOMAIN_ID": str(domain)}
        with start(f"exec {node_command}", **variables) as node:
            try:
                return type_(echo, **variables)
            finally:
                node.terminate()


def test_the_printed_files_are_valid(tmp_path):
    for heading in ("The folder", "Class tables", "Mapping", "Several data sets"):
        for block in blocks(heading, "yaml"):
            assert yaml.safe_load(block)
