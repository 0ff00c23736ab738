"""A student that is killed while its teacher's answers are written ends as if it never was."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import killed_student
import pytest
import torch

from emu_core.networks import load_model
from emu_core.training.callbacks import read_checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
    pytest.mark.filterwarnings("ignore:.*directory .* exists and is not empty"),
]


@pytest.fixture
def data(tmp_path, write_noise):
    """Six frames to train on, three to validate with: two batches."""
    counts = {"train": 6, "val": 3}
    names = [(s, f"drive0001_000000_{i:06d}") for s, count in counts.items() for i in range(count)]
    write_noise(tmp_path / "data", names)
    return tmp_path / "data"


def validations(*paths):
    rows = [row for path in paths for row in csv.DictReader(path.read_text().splitlines())]
    return [(row["step"], row["val_miou"], row["val_depth_rmse_m"]) for row in rows
            if row.get("val_miou")]  # fmt: skip


def test_a_student_killed_amid_a_batchs_answers_ends_bit_identical(data, tmp_path, monkeypatch):
    """
    1. One student is trained, and nothing stops it.
    2. Another is killed in its third step, when one of two answers is written.
    3. The same call goes on from step 2.
    """
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    whole, resumed = tmp_path / "whole", tmp_path / "killed"
    expected = killed_student.train(data, whole)
    program = Path(killed_student.__file__)
    killed = subprocess.run(
        [sys.executable, str(program), str(data), str(resumed), "5"],
        env=os.environ, check=False, timeout=300,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert len(list((resumed / "cache").iterdir())) == 5
    assert read_checkpoint(resumed / "student" / "last.ckpt")["global_step"] == 2
    weights = killed_student.train(data, resumed)
    for name in (expected.name, "best.safetensors"):
        ours, theirs = (
            load_model(path.with_name(name))[0].state_dict() for path in (weights, expected)
        )
        for parameter in theirs:
            assert torch.equal(ours[parameter], theirs[parameter]), (name, parameter)
    once = validations(whole / "student" / "metrics.csv")
    assert [step for step, *_ in once] == ["2"]
    parts = [resumed / "student" / name for name in ("metrics-1.csv", "metrics.csv")]
    assert validations(*(path for path in parts if path.is_file())) == once
