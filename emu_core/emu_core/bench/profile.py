"""Where the student's time goes in ONNX Runtime, and how far that is from what the machine can do.

python -m emu_core.bench --parts profile --threads 1
python -m emu_core.bench.profile student.onnx --threads 1      # of any model file
"""

from __future__ import annotations

import argparse
import json
import math
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from emu_core.bench.files import fixed_image, student_file
from emu_core.bench.settings import Settings, peak_multiply_adds
from emu_core.runtime.model_file import INPUT
from emu_core.runtime.perceiver import session_options

_RUNS = 8


def measure(settings: Settings) -> dict[str, Any]:
    """Milliseconds and multiply-adds by part, and the machine's peak."""
    path = student_file(settings.compared, settings.output / "models")
    image = fixed_image(settings.compared)
    peak = peak_multiply_adds(settings.threads, settings.repetitions)
    found = {
        "file": path.name,
        "size": "{}x{}".format(*settings.compared),
        "peak_giga_multiply_adds_per_s": peak,
        "giga_multiply_adds": {k: v / 1e9 for k, v in multiply_adds(path).items()},
        **profile(path, image, settings.threads),
    }
    return {"details": {"profile": found}}


def profile(
    path: str | Path, image: np.ndarray, threads: int, runs: int = _RUNS
) -> dict[str, dict[str, float]]:
    """Milliseconds of a run by part and by operator: of every node, the quickest of some runs."""
    options = session_options(threads)
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        for _ in range(runs):
            session.run(None, {INPUT: image[np.newaxis]})
        events = json.loads(Path(session.end_profiling()).read_text())
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            taken[name, event["args"]["op_name"]].append(event["dur"] / 1000)
    parts: Counter[str] = Counter()
    operators: Counter[str] = Counter()
    for (name, operator), milliseconds in taken.items():
        parts[part_of(name)] += min(milliseconds)  # type: ignore[assignment]
        operators[operator] += min(milliseconds)  # type: ignore[assignment]
    return {
        "milliseconds_by_part": dict(parts.most_common()),
        "milliseconds_by_operator": dict(operators.most_common()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the profile of a model file."""
    parser = argparse.ArgumentParser(prog="python -m emu_core.bench.profile")
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    session = onnxruntime.InferenceSession(str(given.model), providers=["CPUExecutionProvider"])
    height, width = session.get_inputs()[0].shape[1:3]
    for of_what, table in profile(
        given.model, fixed_image((height, width)), given.threads
    ).items():
        print(of_what)
        for name, milliseconds in table.items():
            print(f"{milliseconds:10.2f}  {name}")


if __name__ == "__main__":
    main()


_PARTS = (
    (r"/encoder/.*/attention/", "attention"),
    (r"/encoder/.*/ffn/|^Gelu", "Mix-FFN"),
    (r"/encoder/.*embed", "patch embeddings"),
    (r"/encoder/", "norms and residuals"),
    (r"/segmentation_decoder/", "segmentation decoder"),
    (r"/depth_decoder/", "depth decoder"),
    (r"^Reorder", "layout changes"),
)
FULL_RESOLUTION = "full resolution"


def part_of(node: str) -> str:
    """The part of the student that a node's name tells; else upsampling, labels and entropy."""
    return next((part for pattern, part in _PARTS if re.search(pattern, node)), FULL_RESOLUTION)


def multiply_adds(path: str | Path) -> Counter[str]:
    """Multiply-adds of convolutions and matrix products, by part; all else is not counted."""
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
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        return result * shapes[node.input[0]][0 if turned else 1]
    return result * shapes[node.input[0]][-1]
