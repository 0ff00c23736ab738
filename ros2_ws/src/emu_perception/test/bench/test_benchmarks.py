"""The benchmark programs measure what they say, on a tiny model."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers.ros_processes import ros_environment

from emu_perception.bench.round_trip import peak_rss_mb


def run(program, domain, *arguments):
    """The JSON that a program prints."""
    command = [sys.executable, "-m", f"emu_perception.{program}", *arguments]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=100,
        env=ros_environment(domain),
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def test_both_nodes_answer_every_frame_in_more_than_no_time(domain, model):
    found = run("bench.path", domain, "--model", str(model), "--threads", "1", "--frames", "3")
    assert {name: len(values) for name, values in found.items()} == {
        "ours": 3,
        "usual": 3,
        "inference": 3,
    }
    assert all(value > 0 for values in found.values() for value in values)


@pytest.mark.parametrize("options", [[], ["--stock-dds"]])
def test_a_round_trip_tells_start_memory_and_losses(domain, model, options):
    arguments = ["--model", str(model), "--threads", "1", "--frames", "2", *options]
    found = run("bench.round_trip", domain, *arguments)
    assert len(found["milliseconds"]) + found["lost"] == 2
    assert all(0 < value < 2000 for value in found["milliseconds"])
    assert 0 < found["start_to_first_result_s"] < 60
    assert 20 < found["node_rss_mb"] < 2000


def test_the_peak_of_memory_outlives_what_was_freed():
    before = peak_rss_mb(os.getpid())
    np.ones(8 * 2**20).sum()  # 64 MB
    assert peak_rss_mb(os.getpid()) >= before
    assert peak_rss_mb(os.getpid()) > 64
