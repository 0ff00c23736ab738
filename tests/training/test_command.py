"""Which process writes, before Lightning's Trainer has numbered them."""

import pytest
from lightning.pytorch.utilities import rank_zero_only

from emu_core.training.command import run_command, settle_rank

LAUNCHERS = {
    "alone": ({}, 0),
    "the first by hand": ({"NODE_RANK": "0", "MASTER_ADDR": "a"}, 0),
    "another node by hand": ({"NODE_RANK": "1", "MASTER_ADDR": "a"}, 1),
    "another node with a local rank": ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, 1),
    "started by Lightning": ({"NODE_RANK": "0", "LOCAL_RANK": "1"}, 1),
    "torchrun": (
        {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "LOCAL_RANK": "1", "GROUP_RANK": "2"}, 5
    ),
    "torchrun's first": (
        {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}, 0
    ),
    "torchrun inside srun": ({"RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": "1"}, 0),
    "srun": ({"SLURM_NTASKS": "8", "SLURM_PROCID": "4"}, 4),
    "srun that sets local ranks": ({"SLURM_PROCID": "4", "LOCAL_RANK": "0"}, 4),
    "jsrun": ({"JSM_NAMESPACE_RANK": "3"}, 3),
}  # fmt: skip
NAMES = {name for variables, _ in LAUNCHERS.values() for name in variables}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_one_process_alone_is_the_first_whoever_launched_them(launcher, monkeypatch):
    variables, rank = LAUNCHERS[launcher]
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # what the import of Lightning found
    settle_rank()
    assert rank_zero_only.rank == rank


def test_a_command_knows_before_it_writes(monkeypatch, tmp_path):
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    monkeypatch.setenv("NODE_RANK", "1")
    write = rank_zero_only((tmp_path / "config.yaml").touch)
    assert run_command("train_teacher", write) == 0
    assert not list(tmp_path.iterdir())
