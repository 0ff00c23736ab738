r"""Score models on held-out images: a model file as a robot uses it, or methods as in the paper.

A model file, at the size of the ground truth:

    python training/evaluate.py                                        # the shipped model, test
    python training/evaluate.py --splits test haze night --output runs/scores.json
    python training/evaluate.py --splits test test+rain test+dirt      # with changed images
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
import math
import sys
from dataclasses import replace
from pathlib import Path

import jsonargparse
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from emu_core.data.appearance.shifts import SHIFTS
from emu_core.data.config import Data
from emu_core.data.datasets import DATASETS
from emu_core.evaluation.model_scores import print_scores, score_split, scores_of
from emu_core.files import without_nan, write_json
from emu_core.runtime.perceiver import Perceiver
from emu_core.terminal import accept_any_text


def make_parser() -> jsonargparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = jsonargparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--splits",
        nargs="+",
        help="what to score on (default: the data set's test split); SPLIT+SHIFT changes its "
        f"images: {', '.join(SHIFTS)}",
    )
    add("--root", type=Path, help="folder of the data (default: data/KIND, or --config's)")
    add(
        *("--max-depth", "--max_depth"),
        type=PositiveFloat,
        help="ground truth beyond it is invalid, metres (default: the data set's, or --config's)",
    )
    add("--stride", type=PositiveInt, default=1, help="score only every so many frames")
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
    model.add_argument("--classes", help="class table of the model: a name or a YAML file")
    model.add_argument("--mapping", type=Path, help="YAML file: what each class of the data is")
    add = parser.add_argument_group("methods in PyTorch").add_argument
    add("--methods", nargs="+", metavar="[NAME:]KIND=FILES", help="what to score")
    add("--config", type=Path, help="config.yaml of one of their trainings")
    add(
        "--size",
        type=PositiveInt,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="network input and ground truth (default: --config's)",
    )
    add("--threads", type=NonNegativeInt, default=0, help="CPU threads; 0: all cores")
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
        help="methods trained without depth variance (L1 or RMSLE loss); they get no metrics of "
        "depth uncertainty",
    )
    add("--device", default="cpu", help="cpu or cuda")
    return parser


def evaluate_model(given: jsonargparse.Namespace) -> None:
    """Score a model file, and print the scores."""
    perceiver = Perceiver(given.model)
    options = {name: getattr(given, name) for name in ("root", "max_depth", "mapping", "classes")}
    data = Data(given.kind, **options)
    frames = data.open_scored(given.splits)
    farthest = next(iter(frames.values())).max_depth
    print(f"{perceiver.info.name} on {data.root}, depth valid up to {farthest:g} m")
    metrics = {name: score_split(perceiver, part, given.stride) for name, part in frames.items()}
    scores = {name: scores_of(frames[name], metrics[name]) for name in metrics}
    print_scores(scores)
    bounds = [bound for of_split in metrics.values() for bound in of_split.bounds().values()]
    if known := [bound for bound in bounds if not math.isnan(bound)]:
        print(f"error AUROCs rank binned scores, which changes them by at most {max(known):.1g}")
    if given.output is not None:
        write_json(given.output, without_nan(scores))


def evaluate_methods(given: jsonargparse.Namespace) -> None:
    """Score methods side by side, write tables and plots, and print a summary."""
    # These need torch, which a robot does not have.
    from emu_core.evaluation.candidate import parse_candidates
    from emu_core.evaluation.report import compare
    from emu_core.evaluation.splits import Split
    from emu_core.evaluation.tables import summary
    from emu_core.training.command import prepare_cpu, usable_device
    from emu_core.training.config import TrainingConfig
    from emu_core.training.release import read_config
    from emu_core.training.run import describe_training

    device = usable_device(given.device)
    prepare_cpu(given.threads)
    candidates = [
        replace(c, lazy=given.lazy, depth_uncertainty=c.name not in given.point_depth)
        for text in given.methods
        for c in parse_candidates(text)
    ]
    if unknown := set(given.point_depth) - {c.name for c in candidates}:
        raise ValueError(f"--point-depth names no method: {', '.join(sorted(unknown))}.")
    data, _ = read_config(given.config)
    if data.mixture and (given.root or given.max_depth):
        raise ValueError(
            f"{given.config} trains on a mixture, so --root and --max-depth have no meaning: give "
            "a config.yaml in which data.mixture has other folders."
        )
    if given.root or given.max_depth:
        max_depth = given.max_depth or data.max_depth
        data = replace(data, root=given.root or data.root, max_depth=max_depth)
    size = tuple(given.size) if given.size else None
    frames = data.open_scored(given.splits)
    splits = {name: Split(data, part, size, given.stride) for name, part in frames.items()}
    classes = list(next(iter(splits.values())).space.model.names)
    for candidate in candidates:
        learned = describe_training(TrainingConfig(data)) | {"classes": classes}
        candidate.check(learned, given.config)
    folder = given.output or Path("runs/evaluation")
    evaluation = compare(candidates, splits, folder, device)
    print(evaluation.note)
    for name in splits:
        print(f"\n{name}\n{summary(evaluation.of(name))}\n")
    print(evaluation.bound)
    print(f"{folder}: evaluation.md, .csv, .json and plots written")


def main() -> int:
    """Command line."""
    accept_any_text()
    try:
        parser = make_parser()  # reads plugins
        given = parser.parse_args()
        if given.methods and not given.config:
            parser.error("--methods needs --config, the config.yaml of one of their trainings")
        evaluate_methods(given) if given.methods else evaluate_model(given)
    except (ValueError, OSError) as error:  # DataError, ModelError and WeightsError among them
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
