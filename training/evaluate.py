r"""Score models on held-out images: a model file as a robot uses it, or methods as in the paper.

A model file, at the size of the ground truth:

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

A method is [NAME:]KIND=FILES. Single, control, student and mcd take each file as a seed, de takes
all files as its members; two lists with a comma between them are single-task networks. OUTPUT gets
evaluation.md, .csv, .json, plots, and SPLIT/NAME-SEED.npz; scores that are there are kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jsonargparse

from emu_core.data.datasets import DATASETS
from emu_core.evaluation.model_scores import evaluate_model


def make_parser() -> jsonargparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = jsonargparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--splits", nargs="+", help="what to score on (default: the data set's test split)")
    add("--root", type=Path, help="folder of the data (default: data/KIND, or --config's)")
    add(
        *("--max-depth", "--max_depth"),
        type=float,
        help="ground truth beyond it is invalid, metres (default: the data set's, or --config's)",
    )
    add("--stride", type=int, default=1, help="score only every so many frames")
    add(
        "--output",
        type=Path,
        help="JSON file for the scores; with --methods a folder (default: runs/evaluation)",
    )
    model = parser.add_argument_group("a model file")
    model.add_argument("--model", type=Path, help="ONNX file (default: the shipped one)")
    model.add_argument(
        "--kind", default="drives", help=f"of the data: {', '.join(DATASETS)} (default: drives)"
    )
    add = parser.add_argument_group("methods in PyTorch").add_argument
    add("--methods", nargs="+", metavar="[NAME:]KIND=FILES", help="what to score")
    add("--config", type=Path, help="config.yaml of one of their trainings")
    add(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="network input and ground truth (default: --config's)",
    )
    add("--threads", type=int, default=0, help="CPU threads; 0: all cores")
    add(
        "--lazy",
        action="store_true",
        help="read an ensemble's members again for every batch, to save memory; always done for "
        "more than 2 GB",
    )
    add(
        *("--point-depth", "--point_depth"),
        nargs="+",
        metavar="NAME",
        default=[],
        help="methods whose loss trained no depth variance (L1, RMSLE); they get no metrics of "
        "depth uncertainty",
    )
    add("--device", default="cpu", help="cpu or cuda")
    return parser


def evaluate(given: jsonargparse.Namespace) -> None:
    """Score what the options name."""
    common = {"root": given.root, "max_depth": given.max_depth, "stride": given.stride}
    if not given.methods:
        evaluate_model(given.model, given.kind, splits=given.splits, output=given.output, **common)
        return
    from emu_core.evaluation.method_scores import evaluate_methods  # needs torch

    evaluate_methods(
        given.methods,
        given.config,
        given.splits,
        given.output or Path("runs/evaluation"),
        size=tuple(given.size) if given.size else None,
        threads=given.threads,
        lazy=given.lazy,
        point_depth=given.point_depth,
        device=given.device,
        **common,
    )


def main() -> int:
    """Command line."""
    try:
        parser = make_parser()  # reads plugins
        given = parser.parse_args()
        if given.methods and not given.config:
            parser.error("--methods needs --config, the config.yaml of one of their trainings")
        evaluate(given)
    except (ValueError, OSError) as error:  # DataError, ModelError and WeightsError among them
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
