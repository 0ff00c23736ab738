"""Fit what some methods need beside the weights of a network, on the data of its training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emu_core.data.datasets import evenly
from emu_core.evaluation.fitting.calibration import Drawn, fit_and_print, shifted_parts
from emu_core.evaluation.fitting.pixels import sample_views
from emu_core.evaluation.progress import with_progress
from emu_core.evaluation.splits import Split
from emu_core.methods.post_hoc.calibrated import calibration_file, save_calibration
from emu_core.methods.post_hoc.feature_scores import STATISTICS, FeatureSums
from emu_core.methods.post_hoc.laplace import CURVATURE, CurvatureSums
from emu_core.methods.registry import METHODS, load_method
from emu_core.networks import load_model
from emu_core.training.loader import as_tensors
from emu_core.training.release import read_config

FRAMES = 300
"""Number of training frames that features are taken from, for the default of `fit_features`."""


def fit_beside(kind: str, weights: Path) -> None:
    """Fit what a method needs beside weights, if it is not there.

    Args:
        kind: Name in `METHODS`.
        weights: Weights in the folder of their training.

    Raises:
        DataError: A frame of the training is missing or damaged.
        ValueError: The method needs a file that this project does not fit.
    """
    beside = METHODS[kind].beside
    if beside is None or beside(weights).is_file():
        return
    config = weights.parent / "config.yaml"
    if beside == calibration_file:
        fit_calibration(weights, config)
    elif beside in (STATISTICS.path, CURVATURE.path):
        fit_features(weights, config)
    else:
        raise ValueError(f"{kind} needs {beside(weights)}. Make it before the method is scored.")


def fit_features(weights: Path, config: Path, frames: int = FRAMES) -> None:
    """Add up features and curvature over training frames, evenly spread, and write both files.

    Args:
        weights: .safetensors file of a network.
        config: config.yaml of its training.
        frames: Maximum number of training frames.
    """
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


def fit_calibration(
    weights: Path,
    config: Path,
    roots: Sequence[Path] = (),
    stride: int = 1,
    shifts: Sequence[str] = (),
    dry_run: bool = False,
) -> None:
    """Fit on held-out frames of a training's data, and write the values beside its weights.

    Args:
        weights, config: As for `fit_features`.
        roots: Folders of data sets of the training, see `Data.open_calibration`; none for all.
        stride: Step between the frames.
        shifts: See `calibrate`.
        dry_run: Only print what was found.

    Raises:
        DataError: No data set, or not each of `roots`, has a split for it.
    """
    data, _ = read_config(config)
    parts = data.open_calibration(roots)
    method = load_method("single", [weights])
    changed = shifted_parts(parts, shifts)
    splits = [Split(data, part, stride=stride) for part in [*parts, *changed]]
    draws = [Drawn(f"{s.samples.title} ({s.name})", sample_views(method, s)) for s in splits]
    found = fit_and_print(draws[: len(parts)], draws[len(parts) :])
    if not dry_run:
        print(f"{save_calibration(found, weights)}: written")
