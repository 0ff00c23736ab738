"""Rank of a process before there is a Trainer, process settings and error messages."""

import ctypes
import re
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only

from emu_core.data.augment import Augmentation
from emu_core.data.sample import DataError
from emu_core.networks import SegDepthFormer
from emu_core.training import command
from emu_core.training.command import (
    cache_sizes,
    check_devices,
    is_first_process,
    prepare_cpu,
    require_training_space,
    run_command,
    set_global_rank,
    usable_device,
)
from emu_core.training.config import Data, Distillation, Run, StudentConfig

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
    assert rank_zero_only.rank == rank and is_first_process() == (rank == 0)


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


def test_a_full_disk_is_one_sentence_also_without_a_file_name(capsys, monkeypatch):
    def fail():
        Path("/dev/full").write_text("x")

    assert run_command("train_teacher", fail) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(
        r"train_teacher: runs was not written: the disk is full \(.* free in .*\)\. Free .*\n",
        error,
    )


def test_more_gpus_than_there_are_are_refused(monkeypatch):
    check_devices(Run(devices=64))  # processes on CPUs
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for devices in ("auto", 1, 2):
        check_devices(Run(devices=devices))
    with pytest.raises(ValueError, match=r"run\.devices must be auto or at most 2, .* it is 3"):
        check_devices(Run(devices=3))


@pytest.mark.parametrize("name", ["cuda:99", "gpu", ""])
def test_a_device_that_is_absent_is_refused_by_name(name):
    assert usable_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=f"^--device must be cpu, .* but it is {name!r}: "):
        usable_device(name)


@pytest.mark.parametrize(("ema", "copies"), [(0.5, 4), (0.0, 3)])
def test_trainings_need_space_for_checkpoints_weights_and_caches(
    ema, copies, tmp_path, write_noise, monkeypatch
):
    write_noise(
        tmp_path / "data", [(s, f"{s}1_000000_00000{i}") for s in ("train", "val") for i in "01"]
    )
    config = StudentConfig(
        Data(root=tmp_path / "data", cache=tmp_path / "frames", augmentation=Augmentation(32, 64)),
        distillation=Distillation(variants=3, cache=tmp_path / "maps"),
        run=Run(ema=ema),
    )
    caches = cache_sizes(config)
    assert caches == {
        tmp_path / "frames": 4 * 64 * 128 * 8,  # frames, pixels, bytes
        tmp_path / "maps": 2 * 3 * (8 * 16) * (19 + 2) * 2,
    }
    seen = []
    monkeypatch.setattr(command, "require_space", seen.extend)
    require_training_space(tmp_path / "run", [config, config], caches)
    network = SegDepthFormer("b0", 40)
    size = sum(x.numel() * x.element_size() for x in network.state_dict().values())
    weights, frames, maps = seen
    assert weights == (
        "checkpoints and weights",
        tmp_path / "run",
        2 * (2 * copies * size + 2 * size) + copies * size,
    )
    assert (frames[2], maps[2]) == tuple(caches.values())
