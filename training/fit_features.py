r"""Learn how the features of a network vary on its training frames, for methods that need it.

    python training/fit_features.py --weights runs/teacher/member-0/last.safetensors \
        --config runs/teacher/member-0/config.yaml
    python training/evaluate.py --config runs/teacher/member-0/config.yaml \
        --methods single=runs/teacher/member-0/last.safetensors \
                  mahalanobis=runs/teacher/member-0/last.safetensors \
                  neco=runs/teacher/member-0/last.safetensors \
                  neco_energy=runs/teacher/member-0/last.safetensors \
                  laplace=runs/teacher/member-0/last.safetensors

Writes two files beside the weights: last.features.safetensors, which the methods mahalanobis, neco
and neco_energy need, and last.laplace.safetensors for the method laplace.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jsonargparse
from jsonargparse.typing import PositiveInt

from emu_core.data.datasets import evenly
from emu_core.evaluation.progress import with_progress
from emu_core.methods.feature_scores import STATISTICS, FeatureSums
from emu_core.methods.laplace import CURVATURE, CurvatureSums
from emu_core.networks import load_model
from emu_core.terminal import accept_any_text
from emu_core.training.command import run_command
from emu_core.training.loader import as_tensors
from emu_core.training.release import read_config


def fit_features(weights: Path, config: Path, frames: int) -> None:
    """Add up features and curvature over training frames, evenly spread, and write both files."""
    data, _ = read_config(config)
    network, _ = load_model(weights)
    curvature = CurvatureSums.of(network)
    sums = None if network.segmentation_decoder is None else FeatureSums.of(network)
    samples = data.open_training()
    chosen = evenly(len(samples), frames)
    for index in with_progress(chosen, "features", len(chosen)):
        batch = as_tensors(samples[index], data.whole_images, None)
        images, labels, depth = (batch[name][None] for name in ("image", "labels", "depth"))
        curvature.add(images, labels, depth)
        if sums is not None:
            sums.add(images, labels)
    if sums is not None:
        path = STATISTICS.save(sums.statistics(), weights)
        print(
            f"{path}: from {int(sums.counts.sum())} places in {len(chosen)} training frames, "
            f"{int((sums.counts > 0).sum())} of {len(sums.counts)} classes"
        )
    path = CURVATURE.save(curvature.posterior(), weights)
    print(f"{path}: curvature of the loss on the same frames")


def main() -> int:
    """Run the command line; returns the exit code."""
    accept_any_text()
    parser = jsonargparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", type=Path, required=True, help="…/last.safetensors")
    add("--config", type=Path, required=True, help="config.yaml in the same folder")
    add("--frames", type=PositiveInt, default=300, help="at most so many training frames")
    given = parser.parse_args()
    return run_command("fit_features", lambda: fit_features(**vars(given)))


if __name__ == "__main__":
    sys.exit(main())
