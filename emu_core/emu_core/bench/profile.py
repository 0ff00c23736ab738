"""Time and multiply-adds of the student's parts in ONNX Runtime, and the machine's peak rate.

python -m emu_core.bench --parts profile --threads 1
python -m emu_core.bench.profile student.onnx --threads 1      # of any model file
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import onnx
import onnxruntime
import torch

from emu_core.bench.measurement import Measurement, run_rounds, summarize
from emu_core.bench.models import fixed_image, student_file
from emu_core.bench.settings import BenchSettings, size_name
from emu_core.runtime.engines import session_options
from emu_core.runtime.model_file import INPUT

_PARTS = (
    (r"/encoder/.*/attention/", "attention"),
    (r"/encoder/.*/ffn/|^Gelu", "Mix-FFN"),
    (r"/encoder/.*embed", "patch embeddings"),
    (r"/encoder/", "norms and residuals"),
    (r"/segmentation_decoder/", "segmentation decoder"),
    (r"/depth_decoder/", "depth decoder"),
    (r"^Reorder", "layout changes"),
    (r"", "full resolution"),
)
_RUNS = 8


def measure_profile(settings: BenchSettings) -> dict[str, Any]:
    """Measure milliseconds and multiply-adds by part, and the machine's peak rate."""
    path = student_file(settings.ratio_size, settings.models)
    peak = peak_multiply_adds(settings.threads, settings.repetitions)
    profile = {
        "file": path.name,
        "size": size_name(settings.ratio_size),
        "peak_giga_multiply_adds_per_s": peak,
        "giga_multiply_adds": {k: v / 1e9 for k, v in multiply_adds(path).items()},
        **profile_model(path, fixed_image(settings.ratio_size), settings.threads),
    }
    return {"details": {"profile": profile}}


def profile_model(path: Path, image: np.ndarray, threads: int) -> dict[str, dict[str, float]]:
    """Sum up the milliseconds of all nodes by part and by operator.

    The time of a node is its minimum over several runs.
    """
    options = session_options(threads)
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        for _ in range(_RUNS):
            session.run(None, {INPUT: image[np.newaxis]})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            times[name, event["args"]["op_name"]].append(event["dur"] / 1000)
    parts: dict[str, float] = defaultdict(float)
    operators: dict[str, float] = defaultdict(float)
    for (name, operator), milliseconds in times.items():
        parts[part_of(name)] += min(milliseconds)
        operators[operator] += min(milliseconds)
    sums = {"milliseconds_by_part": parts, "milliseconds_by_operator": operators}
    return {key: dict(sorted(x.items(), key=lambda i: -i[1])) for key, x in sums.items()}


def part_of(node: str) -> str:
    """Return the part of the student that a node belongs to, by its name."""
    return next(part for pattern, part in _PARTS if re.search(pattern, node))


def multiply_adds(path: Path) -> Counter[str]:
    """Count the multiply-adds of convolutions and matrix products, by part."""
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)), data_prop=True)
    shapes = {i.name: tuple(i.dims) for i in model.graph.initializer}
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    for value in values:
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    counts: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            counts[part_of(node.name)] += _of_node(node, shapes)
    return counts


def _of_node(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    result = math.prod(shapes[node.output[0]])
    if node.op_type == "Conv":
        return result * math.prod(shapes[node.input[1]][1:])  # C_in / groups, kernel
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return result * shapes[node.input[0]][0 if transposed else 1]
    return result * shapes[node.input[0]][-1]


def peak_multiply_adds(threads: int, repetitions: int) -> Measurement:
    """Measure 10⁹ multiply-adds per second of a large matrix product in single precision."""
    torch.set_num_threads(threads)
    side = 1024
    a, b, out = (torch.rand(side, side) for _ in range(3))
    series = run_rounds({"gemm": lambda: torch.mm(a, b, out=out)}, repetitions, warm_up=3)
    return summarize([side**3 / ms / 1e6 for ms in series["gemm"]])


def print_profile(model: Path, threads: int = 1) -> None:
    """Print the profile of a model file.

    Args:
        model: ONNX file.
        threads: number of threads.
    """
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    height, width = session.get_inputs()[0].shape[1:3]
    for title, table in profile_model(model, fixed_image((height, width)), threads).items():
        print(title)
        for name, milliseconds in table.items():
            print(f"{milliseconds:10.2f}  {name}")


if __name__ == "__main__":
    jsonargparse.auto_cli(print_profile, prog="python -m emu_core.bench.profile")
