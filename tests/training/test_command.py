"""Rank of a process before there is a Trainer, process settings and error messages."""

import ctypes
from unittest.mock import Mock

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only

from emu_core.data.sample import DataError
from emu_core.training.command import prepare_cpu, run_command, set_global_rank

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x"}
LAUNCHERS = {
    "no launcher": ({}, 0),
    "first node by hand": ({"NODE_RANK": "0", "MASTER_ADDR": "a"}, 0),
    "second node by hand": ({"NODE_RANK": "1", "MASTER_ADDR": "a"}, 1),
    "second node with a local rank": ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, 1),
    "Lightning": ({"NODE_RANK": "0", "LOCAL_RANK": "1"}, 1),
    "torchrun": (TORCHRUN | {"RANK": "5", "LOCAL_RANK": "1", "GROUP_RANK": "2"}, 5),
    "torchrun, first": (TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}, 0),
    "torchrun inside srun": ({"RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": "1"}, 0),
    "srun": ({"SLURM_NTASKS": "8", "SLURM_PROCID": "4"}, 4),
    "srun that sets local ranks": ({"SLURM_PROCID": "4", "LOCAL_RANK": "0"}, 4),
    "jsrun": ({"JSM_NAMESPACE_RANK": "3"}, 3),
}
NAMES = {name for variables, _ in LAUNCHERS.values() for name in variables}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_exactly_one_process_has_rank_0_for_every_launcher(launcher, monkeypatch):
    variables, rank = LAUNCHERS[launcher]
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # set when Lightning was imported
    set_global_rank()
    assert rank_zero_only.rank == rank


def test_a_command_sets_the_rank_before_it_writes(monkeypatch, tmp_path):
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    monkeypatch.setenv("NODE_RANK", "1")
    write = rank_zero_only((tmp_path / "config.yaml").touch)
    assert run_command("train_teacher", write) == 0
    assert not list(tmp_path.iterdir())


def test_an_error_in_a_loading_process_ends_with_its_message_alone(capsys):
    def fail():
        try:
            raise DataError("x.png is damaged.")
        except DataError:
            torch._utils.ExceptionWrapper(where="in DataLoader worker process 0").reraise()

    with pytest.raises(DataError, match="Traceback"):
        fail()
    assert run_command("train_teacher", fail) == 1
    assert capsys.readouterr().err == "train_teacher: x.png is damaged.\n"


def test_an_exit_that_is_not_an_interruption_is_raised():
    def leave():
        raise SystemExit(2)

    with pytest.raises(SystemExit):
        run_command("train_teacher", leave)


def test_threads_are_limited_and_large_blocks_stay_in_the_process(monkeypatch):
    calls = []

    class Libc:
        mallopt = staticmethod(lambda *args: calls.append(args))

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Libc)
    torch.set_num_threads(2)
    prepare_cpu(0)
    assert torch.get_num_threads() == 2
    # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of glibc's malloc.h; mallopt takes an int.
    assert dict(calls) == {-3: 2**30, -1: 2**31 - 1}
    prepare_cpu(1)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("libc", [OSError("no such library"), object()])
def test_other_c_libraries_are_left_alone(monkeypatch, libc):
    monkeypatch.setattr(ctypes, "CDLL", Mock(side_effect=[libc]))
    prepare_cpu(1)
    assert torch.get_num_threads() == 1
