"""Metrics of a resumed run, and a training with a loss of a plugin."""

import csv

import pytest

from emu_core.data.augment import Augmentation
from emu_core.training.config import Data, Run, TrainingConfig
from emu_core.training.losses import DEPTH_LOSSES
from emu_core.training.objectives import MemberLoss
from emu_core.training.run import keep_metrics
from emu_core.training.teacher import train_network

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec", "ignore:.*many workers", "ignore:.*directory .* exists and is not empty"
)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_of_steps_that_are_done_again_are_left_out(tmp_path):
    (tmp_path / "metrics-1.csv").write_text("step,loss\n0,9\n")
    (tmp_path / "metrics.csv").write_text("loss,step,val_miou\n3,1,\n,2,0.5\n1,3,\n,3,0.6\n")
    keep_metrics(tmp_path, done=3)
    assert not (tmp_path / "metrics.csv").exists()
    assert (tmp_path / "metrics-2.csv").read_text().split() == [
        "loss,step,val_miou",
        "3,1,",
        ",2,0.5",
    ]


@pytest.mark.parametrize("torn", ["12", "12,0.5,9", "", ",", "1,0.2,1"])
def test_metrics_that_a_kill_cut_off_are_left_out(tmp_path, torn):
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"step,loss,val_miou\r\n1,3,\r\n\r\nx,1,\r\n2,\r\n" + torn.encode())
    keep_metrics(tmp_path, done=100)
    assert rows(tmp_path / "metrics-1.csv") == [{"step": "1", "loss": "3", "val_miou": ""}]
    for content in ("", "step,lo"):  # killed while the columns were written
        path.write_text(content)
        keep_metrics(tmp_path, done=100)
        assert [left.name for left in tmp_path.iterdir()] == ["metrics-1.csv"]


def test_earlier_metrics_are_not_written_over(tmp_path):
    (tmp_path / "metrics-2.csv").write_text("step\n0\n")
    for step in (1, 2):
        (tmp_path / "metrics.csv").write_text(f"step\n{step}\n")
        keep_metrics(tmp_path, done=9)
    found = {path.name: rows(path)[0]["step"] for path in tmp_path.iterdir()}
    assert found == {"metrics-1.csv": "1", "metrics-2.csv": "0", "metrics-3.csv": "2"}


PLUGIN = """
import torch
from emu_core.training.losses import DEPTH_LOSSES, DepthLoss

def huber(mean, variance, target, options):
    valid = torch.isfinite(target)
    return torch.nn.functional.huber_loss(mean[valid], target[valid], delta=2.0)

DEPTH_LOSSES.add("huber", DepthLoss(huber, trains_variance=False))
"""


def test_a_plugin_adds_a_depth_loss_that_trains_a_network(tmp_path, write_noise, monkeypatch):
    (tmp_path / "huber_loss.py").write_text(PLUGIN)
    monkeypatch.setattr(DEPTH_LOSSES, "_values", dict(DEPTH_LOSSES))  # restored afterwards
    monkeypatch.setenv("EMU_PLUGINS", str(tmp_path / "huber_loss.py"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    names = [(split, f"drive0_000000_{k:06d}") for split in ("train", "val") for k in range(2)]
    write_noise(tmp_path / "data", names)
    config = TrainingConfig(
        Data(root=tmp_path / "data", augmentation=Augmentation(32, 64), batch=2, workers=0),
        loss=MemberLoss("huber"),
        run=Run(steps=2, precision="32-true", threads=1),
    )
    train_network(config, tmp_path / "run")
    losses = [float(row["depth"]) for row in rows(tmp_path / "run/metrics.csv") if row["depth"]]
    assert losses and min(losses) > 0
