"""The benchmark programs measure what they print, with a tiny model."""

import json
import os

import numpy as np
import pytest
from helpers.ros_processes import ChildProcess, module

from emu_perception.bench.round_trip import peak_rss_mb


@pytest.fixture
def run(domain, model):
    """Function that runs a program and returns the JSON that it prints."""

    def run(program, frames, *options):
        arguments = ("--model", model, "--threads", "1", "--frames", str(frames), *options)
        process = ChildProcess(*module(f"bench.{program}", *arguments), domain=domain)
        assert process.wait(100.0) == 0, process.output
        return json.loads(process.output.splitlines()[-1])

    return run


def test_both_nodes_answer_every_frame(run):
    found = run("path", 3)
    assert {name: len(values) for name, values in found.items()} == {
        "ours": 3,
        "usual": 3,
        "inference": 3,
    }
    assert all(value > 0 for values in found.values() for value in values)


@pytest.mark.parametrize("options", [[], ["--stock-dds"]])
def test_a_round_trip_measures_start_memory_and_losses(run, options):
    found = run("round_trip", 2, *options)
    assert len(found["milliseconds"]) + found["lost"] == 2
    assert all(0 < value < 2000 for value in found["milliseconds"])
    assert 0 < found["start_to_first_result_s"] < 60
    assert 20 < found["node_rss_mb"] < 2000


def test_the_peak_of_memory_includes_what_was_freed():
    before = peak_rss_mb(os.getpid())
    np.ones(8 * 2**20).sum()  # 64 MB
    assert peak_rss_mb(os.getpid()) >= before
    assert peak_rss_mb(os.getpid()) > 64
