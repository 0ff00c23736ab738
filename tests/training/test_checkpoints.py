"""Checkpoints are whole or not there, and the best one survives a move of its folder."""

import shutil
from pathlib import Path

import pytest
import torch

from emu_core.labels import CITYSCAPES
from emu_core.networks import SegDepthFormer
from emu_core.objectives import MemberLoss
from emu_core.training import run as running
from emu_core.training.checkpoints import BestCheckpoint, WholeCheckpoints, read_checkpoint
from emu_core.training.learner import Optimisation
from emu_core.training.member import Member
from emu_core.training.run import Run


def test_a_checkpoint_that_is_cut_off_leaves_the_one_before(tmp_path, monkeypatch):
    path, writer = tmp_path / "run" / "last.ckpt", WholeCheckpoints()
    writer.save_checkpoint({"global_step": 1}, path)
    cut_off = []

    def cut(content, target):
        Path(target).write_bytes(b"PK half")
        cut_off.append(Path(target))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", cut)
        with pytest.raises(KeyboardInterrupt):
            writer.save_checkpoint({"global_step": 2}, path)
    assert cut_off == [tmp_path / "run" / "last.ckpt.part"]  # of the same file system
    assert read_checkpoint(path)["global_step"] == 1
    cut_off[0].write_bytes(b"PK half")  # what a killed process leaves is no obstacle
    writer.save_checkpoint({"global_step": 3}, path)
    assert read_checkpoint(path)["global_step"] == 3
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"global_step": 1}, path)
    for content in (path.read_bytes()[:-100], b"PK", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"last\.ckpt cannot be read as a checkpoint"):
            read_checkpoint(path)


def test_a_run_writes_its_checkpoints_that_way(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    member = Member(SegDepthFormer("b0"), Optimisation(), MemberLoss(), 19, 80.0)
    trainer = running._trainer(member, Run(devices=1), tmp_path, CITYSCAPES, 2)
    assert isinstance(trainer.strategy.checkpoint_io, WholeCheckpoints)
    assert any(isinstance(callback, BestCheckpoint) for callback in trainer.callbacks)


@pytest.mark.filterwarnings("error:The dirpath has changed")
def test_the_best_score_is_known_where_a_runs_folder_was_moved(tmp_path):
    before = BestCheckpoint(tmp_path / "a", "val_miou", "max")
    path = str(tmp_path / "a" / "best.ckpt")
    before.best_k_models = {path: torch.tensor(0.5)}
    before.best_model_path = before.kth_best_model_path = path
    before.best_model_score = before.kth_value = torch.tensor(0.5)
    (tmp_path / "a").mkdir()
    Path(path).touch()
    shutil.move(tmp_path / "a", tmp_path / "b")

    after = BestCheckpoint(tmp_path / "b", "val_miou", "max")
    assert after.state_key == before.state_key
    after.load_state_dict(before.state_dict())
    path = str(tmp_path / "b" / "best.ckpt")
    assert after.best_model_score == after.kth_value == 0.5
    assert after.best_model_path == after.kth_best_model_path == path
    assert after.best_k_models == {path: 0.5}
