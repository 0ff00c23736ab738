"""A student that is killed while it fills the cache ends as if it had not been killed."""

import csv
import signal
import subprocess
import sys
from pathlib import Path

import killed_student
import pytest
import torch

from emu_core.networks import load_model
from emu_core.training.callbacks import read_checkpoint

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec", "ignore:.*directory .* exists and is not empty"
)


def validations(folder):
    paths = (folder / "student" / name for name in ("metrics-1.csv", "metrics.csv"))
    rows = [r for p in paths if p.is_file() for r in csv.DictReader(p.read_text().splitlines())]
    return [(r["step"], r["val_miou"], r["val_depth_rmse_m"]) for r in rows if r.get("val_miou")]


def test_a_student_killed_within_the_files_of_a_batch_ends_bit_identical(
    tmp_path, write_noise, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    counts = {"train": 6, "val": 3}  # validation has two batches
    names = [(s, f"drive0001_000000_{i:06d}") for s, count in counts.items() for i in range(count)]
    data, uninterrupted, resumed = (tmp_path / name for name in ("data", "first", "killed"))
    write_noise(data, names)
    expected = killed_student.train(data, uninterrupted)
    program = [sys.executable, str(Path(killed_student.__file__)), str(data), str(resumed), "5"]
    killed = subprocess.run(program, check=False, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert len(list((resumed / "cache").iterdir())) == 5  # one of the third step's two files
    assert read_checkpoint(resumed / "student" / "last.ckpt")["global_step"] == 2

    weights = killed_student.train(data, resumed)
    for name in (expected.name, "best.safetensors"):
        ours, theirs = (
            load_model(path.with_name(name))[0].state_dict() for path in (weights, expected)
        )
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert [step for step, *_ in validations(uninterrupted)] == ["2"]
    assert validations(resumed) == validations(uninterrupted)
