"""Programs leave the home folder as it is, and do not use the network.

Each runs with an empty home folder, in a network namespace that has only the loopback interface,
where the kernel counts the packets that have no route.
"""

import ast
import json
import os
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from emu_core.privacy import keep_private

ROOT = Path(__file__).parents[2]
DRIVE = ROOT / "demo" / "drive"
ISOLATED = ("unshare", "--map-root-user", "--net", "sh", "-c")
SCRIPT = 'ip link set lo up; "$@"; status=$?; cat /proc/net/snmp; exit $status'
UNTOUCHED = ("HOME", "PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH", "ROS_DOMAIN_ID")

LIBRARY = """
from emu_core.runtime.perceiver import Perceiver
import importlib.util, onnxruntime
for provider in ("cpu", "openvino"):
    if provider == "cpu" or importlib.util.find_spec("openvino"):
        Perceiver(None, provider=provider).verify()
"""
PLOT = """
import emu_core.metrics
from matplotlib.figure import Figure
Figure().savefig("figure.png")
"""

FOREIGN = """
from transformers import SegformerConfig, SegformerForSemanticSegmentation
sizes = {"hidden_sizes": [8, 16, 16, 24], "depths": [1, 1, 1, 1], "decoder_hidden_size": 16}
config = SegformerConfig(num_attention_heads=[1, 1, 2, 2], id2label={0: "road", 1: "sky"}, **sizes)
SegformerForSemanticSegmentation(config).save_pretrained("foreign")
"""
WATCHED = {"datumaro", "gradio", "huggingface_hub", "lightning", "matplotlib", "onnxruntime"}
WATCHED |= {"openvino", "snakemake", "torchmetrics", "transformers"}
"""Packages that write to the home folder or report, or import such a package."""

CONNECT = """
import contextlib, socket
with contextlib.suppress(OSError):
    socket.create_connection(("192.0.2.1", 9), 1)
"""


def module(name, *arguments):
    return ("-m", f"emu_perception.{name}", *map(str, arguments))


def training(name, *arguments):
    return (str(ROOT / "training" / f"{name}.py"), *map(str, arguments))


NODE = ROOT / "ros2_ws/src/emu_perception/emu_perception"
OUTSIDE = [*sorted((ROOT / "training").glob("*.py")), *sorted(NODE.rglob("*.py"))]

TINY = ("--data.kind", "folder", "--data.root", "data", "--data.batch", "2", "--data.workers", "0")
TINY += ("--data.augmentation.height", "32", "--data.augmentation.width", "64")
TINY += ("--data.augmentation.canonical_focal", "100.0", "--run.threads", "1")
MEMBER = "runs/tiny/member-0"
WEIGHTS = (f"{MEMBER}/last.safetensors", f"{MEMBER}/config.yaml")
STUDY = ROOT / "training" / "configs" / "study.yaml"

PROGRAMS = {
    "library": ("-c", LIBRARY),
    "plot": ("-c", PLOT),
    "demo": module("demo", "--bag", DRIVE, "--frames", "1", "--output", "demo"),
    "record_uncertain": module("record_uncertain", "--ros-args", "-p", "storage:=none"),
    "build_engine": module("build_engine", "--provider", "cpu"),
    "train": training("train_teacher", *TINY, "--run.name", "tiny", "--run.steps", 1),
    "export": training(
        "export", "--weights", WEIGHTS[0], "--config", WEIGHTS[1], "--output", "tiny.onnx"
    ),
    "distill": training(
        *("distill", "--config", "base.yaml", *TINY, "--run.name", "distilled", "--run.steps", 1),
        *("--teacher.members", 2, "--teacher.steps", 1),
        *("--distillation.variants", 1, "--distillation.cache", "cache"),
    ),
    "foreign": ("-c", FOREIGN),
    "adapt": training(
        *("adapt", "--hugging-face", "foreign", "--segmentation.size", "[32, 64]"),
        *("--license", "none", "--output", "adapted.onnx"),
    ),
    "evaluate": training(
        *("evaluate", "--methods", f"single={WEIGHTS[0]}", "--config", WEIGHTS[1]),
        *("--splits", "test", "--output", "evaluation"),
    ),
    "evaluate_model": training(
        *("evaluate", "--model", "tiny.onnx", "--kind", "folder", "--root", "data"),
        *("--splits", "test", "--output", "scores.json"),
    ),
    "predict": ("-m", "emu_core.predict", "data/images/test_0.png", "--output", "predictions"),
    "bag_to_dataset": training("bag_to_dataset", DRIVE, "--output", "own", "--rate", 0.5),
    "study": training("study", "--config", STUDY, "--data.root", "data", "--plan"),
    "render": training(
        *("render_drives", "--config", ROOT / "training/configs/drives_tiny.yaml"),
        *("--drives", 1, "--frames", 1, "--splits", "val", "--jobs", 1, "--output", "drives"),
    ),
}
"""Arguments of Python; later programs use files of earlier ones."""

LONG = {"distill", "foreign", "adapt", "evaluate_model", "bag_to_dataset"}
"""Programs that only `make test-long` runs: together they take a minute."""

NEEDS = {
    **dict.fromkeys(("demo", "record_uncertain"), "rclpy"),
    **dict.fromkeys(("train", "export", "distill", "evaluate", "evaluate_model"), "lightning"),
    **dict.fromkeys(("foreign", "adapt"), "transformers"),
    **{"plot": "matplotlib", "study": "snakemake", "render": "mujoco"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The current folder of the programs, with a tiny data set."""
    folder, rng = tmp_path_factory.mktemp("work"), np.random.default_rng(0)
    for name in ("images", "labels", "depth"):
        (folder / "data" / name).mkdir(parents=True)
    for split in ("train", "val", "test"):
        for name in (f"{split}_0.png", f"{split}_1.png"):
            image = rng.integers(0, 256, (32, 64, 3), np.uint8)
            cv2.imwrite(str(folder / "data/images" / name), image)
            cv2.imwrite(str(folder / "data/labels" / name), image[..., 0] % 3)
            cv2.imwrite(str(folder / "data/depth" / name), 256 * np.uint16(image[..., 1]) // 8)
    camera = {".": {"width": 64, "height": 32, "fx": 100.0, "fy": 100.0}}
    (folder / "data/cameras.json").write_text(json.dumps(camera))
    about = {"splits": {s: f"{s}_*" for s in ("train", "val", "test")}}
    about |= {"classes": {0: "ground", 1: "wall", 2: "box"}}
    (folder / "data/dataset.yaml").write_text(yaml.safe_dump(about))
    (folder / "base.yaml").write_text("optimisation: {learning_rate: 1.0e-4}\n")
    return folder


@pytest.fixture(scope="module")
def without_network():
    """The command that runs another one without a network; None if this machine refuses that."""
    command = [*ISOLATED, SCRIPT, "sh", "true"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=60)
    except FileNotFoundError:
        return None
    return command[:-1] if done.returncode == 0 and b"OutNoRoutes" in done.stdout else None


@pytest.fixture(scope="module")
def ran(folder, without_network, tmp_path_factory):
    """Function that runs Python once with arguments: its files in HOME, and packets sent away."""

    @cache
    def run(*arguments):
        home = tmp_path_factory.mktemp("home")
        environment = {k: v for k, v in os.environ.items() if k in UNTOUCHED}
        environment |= {"HOME": str(home), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*(without_network or ()), sys.executable, *arguments],
            check=False,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        expected = 1 if "storage:=none" in arguments else 0
        assert done.returncode == expected, done.stdout[-2000:] + done.stderr[-4000:]
        return sorted(home.rglob("*")), packets_without_route(done.stdout)

    return run


def packets_without_route(output):
    """The counter in /proc/net/snmp, which has a line of names and one of numbers."""
    rows = re.findall(r"^Ip: (.*)$", output, re.MULTILINE)
    return int(dict(zip(*map(str.split, rows), strict=True))["OutNoRoutes"]) if rows else None


@pytest.fixture(params=PROGRAMS)
def program(request):
    if request.param in LONG and not os.environ.get("EMU_LONG_TESTS"):
        pytest.skip("set EMU_LONG_TESTS=1")
    if (package := NEEDS.get(request.param)) and not find_spec(package):
        pytest.skip(f"needs {package}")
    return PROGRAMS[request.param]


def test_a_program_leaves_the_home_folder_as_it_is(ran, program):
    files, _ = ran(*program)
    assert files == []


def test_a_program_sends_nothing_to_the_network(ran, without_network, program):
    if without_network is None:
        pytest.skip("this machine allows no network namespace (unshare)")
    _, packets = ran(*program)
    assert packets == 0


@pytest.mark.parametrize("file", OUTSIDE, ids=lambda file: "/".join(file.parts[-2:]))
def test_emu_core_is_imported_before_the_packages_that_it_silences(file):
    names = []
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            names.append(str(node.module).partition(".")[0])
        elif isinstance(node, ast.Import):
            names += [alias.name.partition(".")[0] for alias in node.names]
    before = names[: names.index("emu_core")] if "emu_core" in names else names
    assert WATCHED.isdisjoint(before)


def test_the_counter_notices_a_packet(ran, without_network):
    if without_network is None:
        pytest.skip("this machine allows no network namespace (unshare)")
    assert ran("-c", CONNECT)[1] > 0


def test_a_choice_of_the_user_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setenv("MPLCONFIGDIR", "/mine")
    keep_private()
    assert (os.environ["ORT_DISABLE_TELEMETRY"], os.environ["MPLCONFIGDIR"]) == ("0", "/mine")
    monkeypatch.delenv("MPLCONFIGDIR")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "matplotlib").mkdir()  # with the user's own settings, perhaps
    keep_private()
    assert "MPLCONFIGDIR" not in os.environ
