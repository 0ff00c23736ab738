"""The additions that CONTRIBUTING.md shows apply to the repository, and work as plugins."""

import os
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from run_command import ROOT, run_command

DIFFS = re.findall(r"^```diff\n(.+?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S)
IMPORTS = {
    "losses": "import torch\nimport torch.nn.functional as F\nfrom torch import Tensor\n"
    "from emu_core.training.losses import DEPTH_LOSSES, DepthLoss, global_mean_count\n"
    "from emu_core.training.objectives import MemberLoss\n",
    "outputs": "from emu_perception.node.outputs import add_image_output\n",
}
"""Imports for code that the diffs add to files with these names."""

TOPIC = """
from types import SimpleNamespace
import numpy as np
from std_msgs.msg import Header
from emu_perception.node.outputs import OUTPUTS

depth = np.array([[0.5, np.inf]], np.float32)
frame = SimpleNamespace(maps={"depth": depth}, header=Header(frame_id="camera"))
message = OUTPUTS["depth/inverse"].make(frame)
print(message.header.frame_id, message.encoding, *np.frombuffer(message.data, np.float32))
"""


def added_lines(diff):
    """Return the path of the first file in a diff and the text that the diff adds to it."""
    first = diff.split("\n--- ", 1)[0]
    path = re.search(r"^\+\+\+ b/(.+)$", first, re.M)[1]
    return Path(path), "".join(
        f"{line}\n" for line in re.findall(r"^\+(?!\+\+)(.*)$", first, re.M)
    )


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """The added code as files outside the repository, by their names."""
    folder, files = tmp_path_factory.mktemp("plugins"), {}
    for diff in DIFFS:
        path, text = added_lines(diff)
        files[path.stem] = folder / path.name
        files[path.stem].write_text(IMPORTS.get(path.stem, "") + text)
    return files


def run(folder, plugins, *arguments):
    environment = {**os.environ, "EMU_PLUGINS": ",".join(map(str, plugins))}
    return run_command(sys.executable, *arguments, cwd=folder, env=environment)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no git repository")
@pytest.mark.parametrize("diff", DIFFS, ids=lambda diff: added_lines(diff)[0].stem)
def test_a_diff_applies(diff):
    run_command("git", "apply", "--check", "-", input=diff)


def test_commands_use_the_added_data_set_loss_and_method(tmp_path, plugins):
    rng = np.random.default_rng(0)
    for split, names in (("train", "abcd"), ("val", "ef")):
        (tmp_path / "data" / split).mkdir(parents=True)
        for name in names:
            path = tmp_path / "data" / split / name
            cv2.imwrite(f"{path}.png", rng.integers(0, 256, (64, 128, 3), np.uint8))
            cv2.imwrite(
                f"{path}_labels.png", rng.choice(np.array([7, 11, 23], np.uint8), (64, 128))
            )
            np.save(f"{path}_depth.npy", rng.uniform(2, 40, (64, 128)).astype(np.float32))
    files = [plugins[name] for name in ("town", "losses", "mirrored")]
    run(
        tmp_path,
        files,
        ROOT / "training/train_teacher.py",
        *("--data.kind", "town", "--data.root", "data", "--data.batch", 2, "--data.workers", 0),
        *("--data.augmentation.height", 64, "--data.augmentation.width", 128),
        *("--loss.depth", "huber", "--run.name", "town", "--run.steps", 2, "--run.threads", 1),
        *("--run.precision", "32-true", "--run.validate_every", 2),
    )
    member = tmp_path / "runs/town/member-0"
    run(
        tmp_path,
        files,
        ROOT / "training/evaluate.py",
        *("--config", member / "config.yaml", "--splits", "val", "--output", "scores"),
        *("--methods", f"mirrored={member}/last.safetensors"),
    )
    assert "| mirrored |" in (tmp_path / "scores/evaluation.md").read_text(encoding="utf-8")


def test_the_added_topic_is_an_output_of_the_node(tmp_path, plugins):
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    printed = run(tmp_path, [plugins["outputs"]], "-c", TOPIC)
    assert printed.split() == ["camera", "32FC1", "2.0", "0.0"]
