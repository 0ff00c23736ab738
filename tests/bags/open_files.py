"""Open files as a robot does, in a process that may die; for test_fuzz_files.py.

    printf '%s\n' a.onnx some_bag | python tests/bags/open_files.py

Opens each path of the standard input, as a model file if it ends in .onnx and as a bag otherwise,
and prints one line for each: ok, or the name of the error and its message.
"""

import sys
from pathlib import Path

from emu_core.bags.reader import open_bag
from emu_core.runtime.perceiver import Perceiver


def open_path(path):
    if path.suffix == ".onnx":
        Perceiver(path, threads=1).verify()
        return
    with open_bag(path) as bag:
        for message in bag.messages():
            bag.decode(message)


for line in sys.stdin:
    try:
        open_path(Path(line.rstrip("\n")))
        print("ok", flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", flush=True)
