r"""Score models on held-out images: a model file as a robot uses it, or methods as in the paper.

As a robot receives its answers, at the ground truth's own size:

    python training/evaluate.py                                        # the shipped model, test
    python training/evaluate.py --splits test haze night --output runs/scores.json
    python training/evaluate.py --model runs/distilled/student.onnx --stride 4
    python training/evaluate.py --model runs/b2/student.onnx --kind nyuv2 --root data/nyuv2

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
from typing import Any, Literal

from rich.progress import track

from emu_core.data.cityscapes import MAX_DEPTH, Cityscapes
from emu_core.data.sample import DataSet, Sample
from emu_core.metrics import PerceptionMetrics
from emu_core.runtime.perceiver import Perceiver
from emu_core.runtime.scoring import score

Kind = Literal["drives", "cityscapes", "nyuv2"]

Scores = dict[str, float | dict[str, float]]


def evaluate(
    perceiver: Perceiver,
    root: Path,
    split: str,
    stride: int = 1,
    kind: Kind = "drives",
    max_depth: float | None = None,
) -> Scores:
    """Scores of one split, with each class's IoU under `iou`."""
    data = open_data(root, split, kind, max_depth)
    return figures(perceiver, measure(perceiver, data, split, stride))


def open_data(root: Path, split: str, kind: Kind, max_depth: float | None = None) -> DataSet:
    """A split of a data set; NYUv2 alone needs h5py and scipy.

    Args:
        max_depth: farther ground truth is invalid, metres; default: the data set's.
    """
    if kind == "nyuv2":
        from emu_core.data import nyuv2

        return nyuv2.NYUv2(root, split, max_depth or nyuv2.MAX_DEPTH)
    return Cityscapes(root, split, max_depth or MAX_DEPTH)


def measure(perceiver: Perceiver, data: DataSet, split: str, stride: int = 1) -> PerceptionMetrics:
    """Score one split.

    Raises:
        ValueError: model and data name other classes.
    """
    named, there = perceiver.info.classes.dataset, data.classes.dataset
    if perceiver.info.classes.names != data.classes.names:
        raise ValueError(
            f"{perceiver.info.name} names the classes of {named}, but the data those of {there}: "
            "is --kind right?"
        )
    return score(perceiver, _shown(data, range(0, len(data), stride), split), data.max_depth)


def figures(perceiver: Perceiver, metrics: PerceptionMetrics) -> Scores:
    """All figures, with each class's IoU under `iou`."""
    iou = zip(perceiver.info.classes.names, metrics.confusion.compute()["iou"], strict=True)
    # NaN: neither in the truth nor predicted.
    return {**metrics.compute(), "iou": {n: float(v) for n, v in iou if not math.isnan(v)}}


def _shown(data: DataSet, indices: Sequence[int], split: str) -> Iterator[Sample]:
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
    data = {s: open_data(root, s, args.kind, args.max_depth) for s in args.splits}
    farthest = next(iter(data.values())).max_depth
    print(f"{perceiver.info.name} on {root}, depth valid up to {farthest:g} m")
    metrics = {s: measure(perceiver, of_split, s, args.stride) for s, of_split in data.items()}
    scores = {s: figures(perceiver, of_split) for s, of_split in metrics.items()}
    print_scores(scores)
    bound = max(b for of_split in metrics.values() for b in of_split.bounds().values())
    print(f"error AUROCs rank binned scores, which changes them by at most {bound:.1g}")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_without_nan(scores), indent=1, allow_nan=False)
        args.output.write_text(text + "\n", encoding="utf-8")


def _without_nan(scores: Any) -> Any:
    """The scores with null for what is no number: JSON has no NaN."""
    if isinstance(scores, dict):
        return {name: _without_nan(value) for name, value in scores.items()}
    return scores if math.isfinite(scores) else None


def evaluate_methods(args: argparse.Namespace) -> None:
    """Score methods side by side, and write tables and plots."""
    # Here, because whoever scores a model file needs no torch.
    from emu_core.evaluation.candidate import parse_candidates
    from emu_core.evaluation.comparison import compare
    from emu_core.evaluation.splits import open_split
    from emu_core.evaluation.tables import summary
    from emu_core.training.command import prepare_cpu
    from emu_core.training.release import read_config

    prepare_cpu(args.threads)
    candidates = [
        replace(c, lazy=args.lazy, depth_uncertainty=c.name not in args.point_depth)
        for text in args.methods
        for c in parse_candidates(text)
    ]
    if unknown := set(args.point_depth) - {c.name for c in candidates}:
        raise ValueError(f"--point-depth names no method: {', '.join(sorted(unknown))}.")
    data, _ = read_config(args.config)
    data = replace(data, root=args.root or data.root, max_depth=args.max_depth or data.max_depth)
    size = tuple(args.size) if args.size else None
    splits = {name: open_split(data, name, size, args.stride) for name in args.splits}
    folder = args.output or Path("runs/evaluation")
    rows, note, bound = compare(candidates, splits, folder, args.device)
    print(note)
    for name, methods in rows.items():
        print(f"\n{name}\n{summary(methods)}")
    print(bound)
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
    parser.add_argument(
        "--kind", choices=["drives", "cityscapes", "nyuv2"], default="drives",
        help="of --model's data (default: drives; of --methods: what --config says)",
    )  # fmt: skip
    parser.add_argument(
        "--max-depth", type=float,
        help="farther ground truth is invalid, metres (default: the data set's, or --config's)",
    )  # fmt: skip
    parser.add_argument("--splits", nargs="+", default=["test"])
    parser.add_argument("--stride", type=int, default=1, help="only every so many frames")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"),
        help="of --methods: the network's input and the truth (default: what --config says)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=0, help="of --methods; 0: all cores")
    parser.add_argument(
        "--lazy", action="store_true",
        help="of --methods: read an ensemble's members anew for every batch, to save memory; what "
        "is larger than 2 GB does so by itself",
    )  # fmt: skip
    parser.add_argument(
        "--point-depth", nargs="+", metavar="NAME", default=[],
        help="of --methods: those whose loss trained no depth variance (L1, RMSLE); they get no "
        "figures of depth's uncertainty",
    )  # fmt: skip
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
