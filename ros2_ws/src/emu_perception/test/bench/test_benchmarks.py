"""The benchmark programs measure what they print, with a tiny model."""

import json
import os

import numpy as np
import pytest
from helpers.ros_processes import ChildProcess, module

from emu_core.machine import peak_rss_mb
from emu_core.runtime.dummy_model import make_dummy_model, street
from emu_perception.node.outputs import OUTPUTS


@pytest.fixture
def run(domain, model):
    """Function that runs a program and returns the JSON that it prints."""

    def run(program, frames, *options):
        arguments = ("--model", model, "--threads", "1", "--frames", str(frames), *options)
        process = ChildProcess(*module(f"bench.{program}", *arguments), domain=domain)
        assert process.wait(100.0) == 0, process.output
        return json.loads(process.output.splitlines()[-1])

    return run


def test_the_path_is_measured_with_the_maps_and_with_all_topics(run):
    found = run("path", 3)
    assert set(found) == {"maps", "all_topics", "inference"}
    assert all(len(values) == 3 and min(values) > 0 for values in found.values())
    assert sum(found["maps"]) < sum(found["all_topics"])


@pytest.mark.parametrize("options", [[], ["--stock-dds"]])
def test_a_round_trip_measures_start_memory_and_losses(run, options):
    found = run("round_trip", 2, *options)
    assert len(found["milliseconds"]) + found["lost"] == 2
    assert all(0 < value < 2000 for value in found["milliseconds"])
    assert 0 < found["start_to_first_result_s"] < 60
    assert 20 < found["node_rss_mb"] < 2000


def test_parameters_and_lifecycle_answer_while_large_messages_are_published(domain, models):
    """Messages have up to 3.7 MB, and the node has more images than it can process."""
    size = (256, 512)
    fixed = street(size, (64, 128))
    file = make_dummy_model(models / "street.onnx", size, logits=True, fixed=fixed)
    options = ("--model", file, "--threads", "1", "--stride", "1", "--seconds", "2")
    process = ChildProcess(*module("bench.rate", *options), domain=domain)
    assert process.wait(200.0) == 0, process.output
    found = json.loads(process.output.splitlines()[-1])
    assert found["answered"] <= found["sent"] and found["sent"] > 0
    clouds = {"obstacles", "ground", "clearing"}
    assert clouds < found["topics"].keys() <= set(OUTPUTS)
    assert set(found["services"]) == {"get_parameters", "set_parameters", "get_state"}
    for milliseconds in found["services"].values():
        # 0.1 s if the machine has nothing else to do: docs/performance.md
        assert milliseconds and 0 < np.median(milliseconds) < 2000


def test_the_peak_of_memory_includes_what_was_freed():
    before = peak_rss_mb(os.getpid())
    np.ones(8 * 2**20).sum()  # 64 MB
    assert peak_rss_mb(os.getpid()) >= before
    assert peak_rss_mb(os.getpid()) > 64
