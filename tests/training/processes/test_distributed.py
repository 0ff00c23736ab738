"""Two processes train on a mixture like one process on the joint batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from distributed_step import AUGMENTATION, LEARNERS, joined, mixture, training_loader
from distributed_step import gradients as step_gradients

PROGRAM = Path(__file__).parent / "distributed_step.py"

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
    pytest.mark.filterwarnings("ignore:.*directory .* exists and is not empty"),
]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """The output folder of two CPU processes; Lightning started the second one."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, str(PROGRAM), str(folder), "2"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        command, env=environment, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "All distributed processes registered. Starting with 2 processes" in done.stderr
    return folder


def flat(gradients):
    return torch.cat([gradients[name].flatten() for name in sorted(gradients)])


def error(gradients, reference):
    return ((flat(gradients) - flat(reference)).norm() / flat(reference).norm()).item()


@pytest.mark.parametrize("name", LEARNERS)
def test_gradients_are_those_of_one_process_with_the_joint_batch(
    name, two_processes, tmp_path, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    frames = mixture()
    joint = step_gradients(name, tmp_path / "joint", 1, frames)
    shared = torch.load(two_processes / f"{name}.pt")
    assert error(shared, joint) < 1e-4
    for parameter, gradient in joint.items():
        close = (shared[parameter] - gradient).norm() <= 1e-3 * gradient.norm()
        assert close or gradient.norm() < 1e-4, parameter

    # If each process divided by its own counts:
    (batch,) = training_loader(frames, AUGMENTATION, 4, 1, seed=0)
    order = batch["part"].tolist()
    parts = [joined([frames.parts[i] for i in order[rank::2]]) for rank in range(2)]
    shares = [step_gradients(name, tmp_path / str(k), 1, part) for k, part in enumerate(parts)]
    mean = {key: (shares[0][key] + shares[1][key]) / 2 for key in joint}
    assert error(mean, joint) > 0.1


def test_processes_stop_together_when_one_diverges(two_processes):
    first, second = ((two_processes / f"{rank}.txt").read_text() for rank in (0, 1))
    assert first.startswith("The loss of another process is not finite at step 0 (ce ")
    assert second.startswith("The loss became nan at step 0 (ce nan, depth ")
    assert not (two_processes / "broken" / "last.ckpt").exists()
