"""What a robot does with files that it is given, for test_fuzz_files.py: a process that may die.

    printf '%s\n' a.onnx some_bag | python tests/open_files.py

Opens each path of the standard input, as a model file if it ends in .onnx and as a bag otherwise,
and prints a line for each: ok, or the name of the error and its message.
"""

import sys
from pathlib import Path

from emu_core.bags.reader import open_bag
from emu_core.runtime.perceiver import Perceiver


def open_model(path):
    perceiver = Perceiver(path, threads=1)
    perceiver.verify()


def open_whole_bag(path):
    with open_bag(path) as bag:
        for message in bag.messages():
            bag.decode(message)


def main():
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        try:
            (open_model if path.suffix == ".onnx" else open_whole_bag)(path)
            said = "ok"
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        print(said, flush=True)


if __name__ == "__main__":
    main()
