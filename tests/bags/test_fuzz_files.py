"""Damaged model files and bags are refused with a message: no crash, no hang, no memory growth.

`make test-long` tries ten times as many. The number of a case determines its damage.
"""

import multiprocessing
import os
import shutil
import signal
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs onnx, to make a model file")

import text_bags

from emu_core.runtime.dummy_model import make_dummy_model
from emu_core.runtime.perceiver import Perceiver

COUNT = 250 if os.environ.get("EMU_LONG_TESTS") else 25  # of each kind
TIMEOUT_S = 60
GROWTH_KB = 20_000  # of the process, from the tenth file on


def open_as_a_robot(path):
    """Open a model file or a bag; returns "ok" or the error, and the memory of the process."""
    answer = "ok"
    signal.alarm(TIMEOUT_S)  # a process that hangs is killed
    try:
        if path.suffix == ".onnx":
            Perceiver(path, threads=1).verify()
        else:
            text_bags.read(path)
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    signal.alarm(0)
    status = Path("/proc/self/status").read_text()
    return answer, int(status.split("VmRSS:")[1].split()[0])


def count_refused(complete, cases, error):
    """Open all cases in one process that may die; count those refused with this error."""
    refused, settled_kb = 0, 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        assert process.submit(open_as_a_robot, complete).result()[0] == "ok"
        for number, path in enumerate(cases):
            answer, memory_kb = process.submit(open_as_a_robot, path).result()
            if answer != "ok":
                assert answer.startswith(f"{error}: ") and str(path) in answer, answer
                refused += 1
            if number == 10:
                settled_kb = memory_kb
    assert memory_kb - settled_kb < GROWTH_KB
    return refused


def damaged(content, seed):
    """The content with one of four kinds of damage."""
    rng = np.random.default_rng(seed)
    start = int(rng.integers(len(content)))
    stop = min(start + int(rng.integers(1, 200)), len(content))
    changed = bytearray(content)
    for place in rng.integers(len(content), size=rng.integers(1, 9)):
        changed[place] = rng.integers(256)
    zeros = content[:start] + bytes(stop - start) + content[stop:]
    return (bytes(changed), content[:start], zeros, content[:stop] + content[start:])[seed % 4]


def test_damaged_model_files_are_refused(tmp_path):
    complete = make_dummy_model(tmp_path / "complete.onnx")

    def cases():
        for seed in range(COUNT):
            path = tmp_path / f"damaged-{seed}.onnx"
            path.write_bytes(damaged(complete.read_bytes(), seed))
            yield path
            path.unlink()

    assert count_refused(complete, cases(), "ModelError") > COUNT / 2


@pytest.mark.parametrize("storage", text_bags.STORAGES)
def test_damaged_bags_are_refused(tmp_path, storage):
    complete = text_bags.write(tmp_path / "complete", 20, storage)
    file = next(f for f in complete.iterdir() if f.suffix in (".mcap", ".db3"))

    def cases():
        for seed in range(COUNT):
            folder = tmp_path / f"damaged-{seed}"
            shutil.copytree(complete, folder)
            victim = folder / ("metadata.yaml" if seed % 5 == 4 else file.name)
            victim.write_bytes(damaged(victim.read_bytes(), seed))
            yield folder
            shutil.rmtree(folder)

    assert count_refused(complete, cases(), "BagError") > 0
