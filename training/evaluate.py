r"""Score models on held-out images: a model file as a robot uses it, or methods as in the paper.

As a robot receives its answers, at the ground truth's own size:

    python training/evaluate.py                                        # the shipped model, test
    python training/evaluate.py --splits test haze night --output runs/scores.json
    python training/evaluate.py --model runs/first_student/student.onnx --stride 4

Methods side by side, in PyTorch, at the size and on the data of a training's config.yaml:

    python training/evaluate.py --config runs/teacher/member-0/config.yaml \
        --methods single='runs/teacher/member-*/last.safetensors' \
                  de='runs/teacher/member-*/last.safetensors' \
                  mcd20:mcd=runs/mcd20/member-0/last.safetensors \
                  dse=runs/sub/sub_ensemble.safetensors student=runs/student/last.safetensors \
                  apart:single='runs/seg/*/last.safetensors,runs/depth/*/last.safetensors' \
        --splits test haze night unknown --output runs/teacher/evaluation

A method is [NAME:]KIND=FILES: single, control, student and mcd take each file as a seed, de takes
all as its members, and two lists with a comma between are single-task networks. OUTPUT gets
evaluation.md, .csv, .json, plots, and SPLIT/NAME-SEED.npz: what is there is not scored again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.progress import track

from emu_core.data.cityscapes import MAX_DEPTH, Cityscapes
from emu_core.data.sample import Sample
from emu_core.perceiver import Perceiver
from emu_core.scoring import score


def evaluate(
    perceiver: Perceiver, root: Path, split: str, stride: int = 1
) -> dict[str, float | dict[str, float]]:
    """Scores of one split, with each class's IoU under `iou`."""
    data = Cityscapes(root, split)
    metrics = score(perceiver, _shown(data, range(0, len(data), stride), split))
    iou = zip(perceiver.info.classes.names, metrics.confusion.compute()["iou"], strict=True)
    # NaN: neither in the truth nor predicted.
    return {**metrics.compute(), "iou": {n: float(v) for n, v in iou if not math.isnan(v)}}


def _shown(data: Cityscapes, indices: Sequence[int], split: str) -> Iterator[Sample]:
    """The samples, with a progress bar on stderr."""
    for index in track(indices, description=split, disable=not sys.stderr.isatty()):
        yield data[index]


def print_scores(scores: dict[str, dict]) -> None:
    """One line for each figure, one column for each split."""
    splits = list(scores)
    print(f"{'':22}" + "".join(f"{split:>10}" for split in splits))
    for name in [key for key in scores[splits[0]] if key != "iou"]:
        print(f"{name:22}" + "".join(f"{scores[s][name]:10.4f}" for s in splits))
    for name in sorted({n for s in splits for n in scores[s]["iou"]}):
        row = (scores[s]["iou"].get(name) for s in splits)
        print(
            f"  IoU {name:16}" + "".join(f"{'-':>10}" if v is None else f"{v:10.4f}" for v in row)
        )


def evaluate_model(args: argparse.Namespace) -> None:
    """Score one model file as a robot receives its answers."""
    perceiver, root = Perceiver(args.model), args.root or Path("data/drives")
    print(f"{perceiver.info.name} on {root}, depth valid up to {MAX_DEPTH:g} m")
    scores = {s: evaluate(perceiver, root, s, args.stride) for s in args.splits}
    print_scores(scores)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(scores, indent=1) + "\n")


def evaluate_methods(args: argparse.Namespace) -> None:
    """Score methods side by side, and write tables and plots."""
    # Here, because whoever scores a model file needs no torch.
    from emu_core.evaluation.candidate import parse_candidates
    from emu_core.evaluation.comparison import compare
    from emu_core.evaluation.splits import open_split
    from emu_core.evaluation.tables import summary
    from emu_core.training.cpu import prepare_cpu
    from emu_core.training.release import read_config

    prepare_cpu(args.threads)
    candidates = [c for text in args.methods for c in parse_candidates(text)]
    data, _ = read_config(args.config)
    if args.root:
        data = replace(data, root=args.root)
    size = tuple(args.size) if args.size else None
    splits = {name: open_split(data, name, size, args.stride) for name in args.splits}
    folder = args.output or Path("runs/evaluation")
    rows, note = compare(candidates, splits, folder, args.device)
    print(note)
    for name, methods in rows.items():
        print(f"\n{name}\n{summary(methods)}")
    print(f"{folder}: evaluation.md, .csv, .json and plots written")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="ONNX file (default: the shipped one)")
    parser.add_argument(
        "--methods", nargs="+", metavar="[NAME:]KIND=FILES", help="score these in PyTorch instead"
    )
    parser.add_argument("--config", type=Path, help="of --methods: a training's config.yaml")
    parser.add_argument(
        "--root", type=Path,
        help="where the data lies (default: data/drives; of --methods: what --config says)",
    )  # fmt: skip
    parser.add_argument("--splits", nargs="+", default=["test"])
    parser.add_argument("--stride", type=int, default=1, help="only every so many frames")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"),
        help="of --methods: the network's input and the truth (default: what --config says)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=0, help="of --methods; 0: all cores")
    parser.add_argument("--device", default="cpu", help="of --methods: cpu or cuda")
    parser.add_argument(
        "--output", type=Path,
        help="write the scores: a JSON file; of --methods a folder (default: runs/evaluation)",
    )  # fmt: skip
    args = parser.parse_args()
    if args.methods and not args.config:
        parser.error("--methods needs --config, the config.yaml of one of their trainings")
    try:
        evaluate_methods(args) if args.methods else evaluate_model(args)
    except (ValueError, OSError) as error:  # DataError, ModelError and WeightsError among them
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
