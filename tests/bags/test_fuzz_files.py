"""Damaged model files and bags are refused in words: no crash, no hang, no growth.

`make test-long` tries ten times as many. Every damage follows from its number.
"""

import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs onnx, to make a model file")

from emu_core.bags import types as bag_types
from emu_core.bags.writer import BagWriter, offered
from emu_core.runtime.dummy_model import make_dummy_model

LONG = bool(os.environ.get("EMU_LONG_TESTS"))
COUNT = 250 if LONG else 25  # of each kind
PATIENCE_S = 60
GROWTH_KB = 20_000  # of the process, from the tenth file on


class Opener:
    """The process that opens files; `open` gives what it says of one."""

    def __init__(self):
        command = [sys.executable, str(Path(__file__).with_name("open_files.py"))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def open(self, path):
        self.process.stdin.write(f"{path}\n".encode())
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        assert ready, f"{path}: no answer within {PATIENCE_S} s"
        said = self.process.stdout.readline().decode().strip()
        assert said, f"{path}: the process died with {self.process.wait(PATIENCE_S)}"
        return said

    def resident_kb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])


@pytest.fixture
def opener():
    opener = Opener()
    yield opener
    opener.process.kill()
    opener.process.wait()


def damaged(content, seed):
    """The content with one of four kinds of damage."""
    rng = np.random.default_rng(seed)
    broken = bytearray(content)
    start = int(rng.integers(len(broken)))
    stop = min(start + int(rng.integers(1, 200)), len(broken))
    kind = seed % 4
    if kind == 0:
        for place in rng.integers(len(broken), size=rng.integers(1, 9)):
            broken[place] = rng.integers(256)
    elif kind == 1:
        del broken[start:]
    elif kind == 2:
        broken[start:stop] = bytes(stop - start)
    else:
        broken[start:start] = broken[start:stop]
    return bytes(broken)


def write_bag(folder, storage):
    """A bag of 20 texts on two topics."""
    store, kind = bag_types.typestore(), "std_msgs/msg/String"
    with BagWriter(folder, storage) as writer:
        for topic in ("/a", "/b"):
            writer.add_topic(topic, kind, [offered()])
        for time_ns in range(20):
            text = store.types[kind](f"text {time_ns}")
            topic = "/a" if time_ns % 3 else "/b"
            writer.write(topic, time_ns, bytes(store.serialize_cdr(text, kind)))


def open_all(opener, cases, error):
    """Open every case: whole, or refused with this error; the process does not grow."""
    refused, settled = 0, 0
    for number, path in enumerate(cases):
        said = opener.open(path)
        assert said == "ok" or said.startswith(f"{error}: "), f"{path.name}: {said}"
        refused += said != "ok"
        if number == 10:
            settled = opener.resident_kb()
    assert opener.resident_kb() - settled < GROWTH_KB
    return refused


def test_damaged_model_files_are_refused(tmp_path, opener):
    whole = make_dummy_model(tmp_path / "whole.onnx").read_bytes()

    def cases():
        for seed in range(COUNT):
            path = tmp_path / f"damaged-{seed}.onnx"
            path.write_bytes(damaged(whole, seed))
            yield path
            path.unlink()

    assert opener.open(tmp_path / "whole.onnx") == "ok"
    assert open_all(opener, cases(), "ModelError") > COUNT / 2


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_damaged_bags_are_refused(tmp_path, opener, storage):
    whole = tmp_path / "whole"
    write_bag(whole, storage)
    file = next(f for f in whole.iterdir() if f.suffix in (".mcap", ".db3"))

    def cases():
        for seed in range(COUNT // 2):
            folder = tmp_path / f"damaged-{seed}"
            shutil.copytree(whole, folder)
            victim = folder / ("metadata.yaml" if seed % 5 == 4 else file.name)
            victim.write_bytes(damaged(victim.read_bytes(), seed))
            yield folder
            shutil.rmtree(folder)

    assert opener.open(whole) == "ok"
    assert open_all(opener, cases(), "BagError") > 0
