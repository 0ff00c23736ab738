"""Damaged model files and bags are refused with a message: no crash, no hang, no memory growth.

`make test-long` tries ten times as many. The number of a case determines its damage.
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

from text_bags import STORAGES, write_texts

from emu_core.runtime.dummy_model import make_dummy_model

COUNT = 250 if os.environ.get("EMU_LONG_TESTS") else 25  # of each kind
TIMEOUT_S = 60
GROWTH_KB = 20_000  # of the process, from the tenth file on


class Opener:
    """A process that opens files; `open` returns its answer."""

    def __init__(self):
        command = [sys.executable, str(Path(__file__).with_name("open_files.py"))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def open(self, path):
        self.process.stdin.write(f"{path}\n".encode())
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], TIMEOUT_S)
        assert ready, f"{path}: no answer within {TIMEOUT_S} s"
        answer = self.process.stdout.readline().decode().strip()
        assert answer, f"{path}: the process died with {self.process.wait(TIMEOUT_S)}"
        return answer

    def resident_kb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def count_refused(self, cases, error):
        """Open every case: it opens or is refused with this error; the process does not grow."""
        refused, settled_kb = 0, 0
        for number, path in enumerate(cases):
            answer = self.open(path)
            if answer != "ok":
                assert answer.startswith(f"{error}: ") and str(path) in answer, answer
                refused += 1
            if number == 10:
                settled_kb = self.resident_kb()
        assert self.resident_kb() - settled_kb < GROWTH_KB
        return refused


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


def test_damaged_model_files_are_refused(tmp_path, opener):
    complete = make_dummy_model(tmp_path / "complete.onnx").read_bytes()

    def cases():
        for seed in range(COUNT):
            path = tmp_path / f"damaged-{seed}.onnx"
            path.write_bytes(damaged(complete, seed))
            yield path
            path.unlink()

    assert opener.open(tmp_path / "complete.onnx") == "ok"
    assert opener.count_refused(cases(), "ModelError") > COUNT / 2


@pytest.mark.parametrize("storage", STORAGES)
def test_damaged_bags_are_refused(tmp_path, opener, storage):
    complete = write_texts(tmp_path / "complete", 20, storage)
    file = next(f for f in complete.iterdir() if f.suffix in (".mcap", ".db3"))

    def cases():
        for seed in range(COUNT):
            folder = tmp_path / f"damaged-{seed}"
            shutil.copytree(complete, folder)
            victim = folder / ("metadata.yaml" if seed % 5 == 4 else file.name)
            victim.write_bytes(damaged(victim.read_bytes(), seed))
            yield folder
            shutil.rmtree(folder)

    assert opener.open(complete) == "ok"
    assert opener.count_refused(cases(), "BagError") > 0
