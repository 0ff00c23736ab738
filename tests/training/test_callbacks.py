"""Checkpoints are atomic, and the best one is kept if its folder is moved."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import TQDMProgressBar

from emu_core.labels import CITYSCAPES
from emu_core.networks import SegDepthFormer
from emu_core.training import callbacks
from emu_core.training.callbacks import (
    AtomicCheckpoints,
    BestCheckpoint,
    ProgressBar,
    average,
    read_checkpoint,
)
from emu_core.training.config import Run, TrainingConfig
from emu_core.training.learner import Member
from emu_core.training.run import make_trainer


def test_an_interrupted_checkpoint_keeps_the_one_before(tmp_path, monkeypatch):
    path, writer = tmp_path / "run" / "last.ckpt", AtomicCheckpoints()
    writer.save_checkpoint({"global_step": 1, "state_dict": {}}, path)
    parts = []

    def interrupted(content, target):
        Path(target).write_bytes(b"PK half")
        parts.append(Path(target))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.save_checkpoint({"global_step": 2, "state_dict": {}}, path)
    assert parts == [tmp_path / "run" / "last.ckpt.part"]  # on the same file system
    assert read_checkpoint(path)["global_step"] == 1
    parts[0].write_bytes(b"PK half")  # left by a killed process
    writer.save_checkpoint({"global_step": 3, "state_dict": {}}, path)
    assert read_checkpoint(path)["global_step"] == 3
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_damaged_checkpoint_is_reported_by_name(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"global_step": 1, "state_dict": {}}, path)
    for content in (path.read_bytes()[:-100], b"PK", b"", b"\x80\x02}q."):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"last\.ckpt cannot be read as a ch.*train from the s"
        ):
            read_checkpoint(path)
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="it lacks global_step, state_dict"):
        read_checkpoint(path)


def test_a_checkpoint_says_what_was_learned_and_is_read_without_running_code(tmp_path):
    path, io = tmp_path / "last.ckpt", AtomicCheckpoints({"method": "head"})
    io.save_checkpoint({"global_step": 1, "state_dict": {}}, path)
    assert io.load_checkpoint(path)["learned"] == {"method": "head"}
    torch.save({"global_step": 1, "state_dict": {}, "extra": SimpleNamespace}, path)
    with pytest.raises(ValueError, match="Weights only load failed"):
        io.load_checkpoint(path, weights_only=False)


def test_a_run_uses_these_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    samples = SimpleNamespace(classes=CITYSCAPES, sets=(), parts=[], max_depth=80.0)
    member = Member(SegDepthFormer("b0"), TrainingConfig(run=Run(devices=1)), samples)
    trainer = make_trainer(member, tmp_path)
    assert isinstance(trainer.strategy.checkpoint_io, AtomicCheckpoints)
    assert any(isinstance(callback, BestCheckpoint) for callback in trainer.callbacks)


@pytest.mark.filterwarnings("error:The dirpath has changed")
def test_the_best_score_is_kept_if_the_folder_of_a_run_is_moved(tmp_path):
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


def test_the_first_averages_follow_the_weights_quickly_and_later_ones_have_the_given_decay():
    value = torch.tensor([1.0])
    for count, current in ((1, 3.0), (2, 5.0)):
        value = average(value, torch.tensor([current]), count, decay=0.999)
    # 2/11 of 1 and 9/11 of 3, then 3/12 of that and 9/12 of 5.
    assert value.item() == pytest.approx(0.25 * (2 / 11 * 1 + 9 / 11 * 3) + 0.75 * 5)
    later = average(torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor(10**6), decay=0.9)
    assert later.item() == pytest.approx(1.1)


def test_images_per_second_exclude_validation(monkeypatch):
    clock = iter([10.0, 12.0, 14.0, 114.0, 116.0])
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: next(clock))
    for name in ("on_train_batch_end", "on_validation_end"):
        monkeypatch.setattr(TQDMProgressBar, name, lambda *_: None)
    monkeypatch.setattr(TQDMProgressBar, "get_metrics", lambda *_: {"v_num": 3, "loss": 1.0})
    bar, trainer = ProgressBar(batch=8), SimpleNamespace()
    bar.on_train_batch_end(trainer)
    assert bar.get_metrics(trainer, None) == {"loss": 1.0}
    for _ in range(2):
        bar.on_train_batch_end(trainer)
    bar.on_validation_end(trainer)  # after a hundred seconds
    for _ in range(2):
        bar.on_train_batch_end(trainer)
    assert bar.get_metrics(trainer, None) == {"loss": 1.0, "images/s": "4.0"}
