"""Which process writes, before Lightning's Trainer has numbered them."""

import ctypes

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only

from emu_core.training import command as cpu
from emu_core.training.command import run_command, set_global_rank

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
    set_global_rank()
    assert rank_zero_only.rank == rank


def test_a_command_knows_before_it_writes(monkeypatch, tmp_path):
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    monkeypatch.setenv("NODE_RANK", "1")
    write = rank_zero_only((tmp_path / "config.yaml").touch)
    assert run_command("train_teacher", write) == 0
    assert not list(tmp_path.iterdir())


@pytest.fixture
def calls(monkeypatch):
    """What mallopt is told, which stays as it is in this process."""
    told = []

    class Libc:
        mallopt = staticmethod(lambda *args: told.append(args))

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Libc)
    return told


def test_threads_are_bounded_only_if_asked_for(calls):
    torch.set_num_threads(2)
    cpu.prepare_cpu(0)
    assert torch.get_num_threads() == 2
    cpu.prepare_cpu(1)
    assert torch.get_num_threads() == 1


def test_blocks_up_to_a_gibibyte_stay_in_the_process(calls):
    cpu.prepare_cpu()
    # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of glibc's malloc.h; int is all that mallopt takes.
    assert dict(calls) == {-3: 2**30, -1: 2**31 - 1}


@pytest.mark.parametrize("libc", [OSError("no such library"), object()])
def test_elsewhere_than_on_glibc_nothing_happens(monkeypatch, libc):
    def load(name):
        if isinstance(libc, OSError):
            raise libc
        return libc

    monkeypatch.setattr(ctypes, "CDLL", load)
    cpu.prepare_cpu(1)
    assert torch.get_num_threads() == 1
