"""Measure time and memory of one case of `growth`, in a process that does not import torch.

python -m emu_core.bench.growth_case model.onnx CAMERAS THREADS REPETITIONS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from emu_core.machine import peak_rss_mb
from emu_core.runtime.engines import session_options
from emu_core.runtime.model_file import INPUT, open_session


def run_case(path: str, cameras: int, threads: int, repetitions: int) -> dict[str, Any]:
    """Run one session for all cameras in turn; milliseconds per round, and peak memory in MB."""
    session = open_session(path, session_options(threads), ["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    milliseconds = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        for _ in range(cameras):
            session.run(None, {INPUT: image})
        milliseconds.append(1000 * (time.perf_counter() - start))
    rss_mb = peak_rss_mb() if Path("/proc/self/status").is_file() else None
    return {"milliseconds": milliseconds[1:], "rss_mb": rss_mb}  # the first is a warm-up


if __name__ == "__main__":
    print(json.dumps(run_case(sys.argv[1], *(int(number) for number in sys.argv[2:]))))
