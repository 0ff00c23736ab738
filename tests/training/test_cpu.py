"""Threads are bounded, and systems without glibc's mallopt are served too."""

import ctypes

import pytest
import torch

from emu_core.training import cpu


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
