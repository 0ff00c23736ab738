"""Render street drives into Cityscapes' layout.

    python training/render_drives.py                        # every split into data/drives
    python training/render_drives.py --splits train val     # some of them
    python training/render_drives.py --splits train --drives 4 --frames 3 --output /tmp/few
    python training/render_drives.py --prior                # only: what a per-pixel prior scores

Frames that are on disk already are skipped, so a killed run goes on where it stopped. Rendering
needs `mujoco` and an OpenGL library (Debian: libegl1 libgl1-mesa-dri); reading drives does not.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import yaml
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from emu_core.data.cityscapes import Cityscapes, DataError
from emu_core.labels import IGNORE

CONFIG = Path(__file__).parent / "configs" / "drives.yaml"


def specs(config: dict, split: str, drives: int | None, frames: int | None) -> list:
    """The drives of a split, in the order of their seeds."""
    from emu_core.drives.drive import DriveSpec

    entry = config["splits"][split]
    first, last = entry["seeds"]
    seeds = range(first, last + 1)[:drives]
    kinds = ["unknown", "known"] if entry.get("paired") else [None]
    return [
        DriveSpec(
            split, seed, entry["frames"], entry["interval"],
            entry.get("condition", "day"), kind, frames, config["width"], config["height"],
        )
        for seed in seeds
        for kind in kinds
    ]  # fmt: skip


def render_one(spec, root: Path) -> int:
    """Render one drive in a worker process."""
    from emu_core.drives.drive import render

    return render(spec, root)


def render_all(wanted: list, root: Path, jobs: int) -> None:
    """Render drives in parallel, with a progress bar in drives and frames."""
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar, ProcessPoolExecutor(jobs) as pool:
        task = bar.add_task("drives", total=len(wanted))
        futures = {pool.submit(render_one, spec, root): spec for spec in wanted}
        frames = 0
        for future in as_completed(futures):
            frames += future.result()
            bar.update(task, advance=1, description=f"drives ({frames} frames rendered)")


def prior_scores(root: Path, stride: int = 4) -> dict[str, float]:
    """What a per-pixel prior of the train split scores on test.

    The prior knows each pixel's mean depth (metres) and most frequent class and looks at no image.
    It must score badly, else the drives are too much alike.
    """
    train, test = Cityscapes(root, "train"), Cityscapes(root, "test")
    total = count = votes = None
    for i in range(0, len(train), stride):
        sample = train[i]
        valid = np.isfinite(sample.depth)
        if total is None:
            total, count = np.zeros(valid.shape), np.zeros(valid.shape)
            votes = np.zeros((len(train.classes), *valid.shape), np.uint32)
        total += np.where(valid, sample.depth, 0)
        count += valid
        for c in range(len(train.classes)):
            votes[c] += sample.labels == c
    depth, labels = total / np.maximum(count, 1), votes.argmax(0)
    inside = close = error = 0.0
    confusion = np.zeros((len(train.classes),) * 2)
    for i in range(len(test)):
        sample = test[i]
        valid = np.isfinite(sample.depth) & (count > 0)
        ratio = np.maximum(depth[valid] / sample.depth[valid], sample.depth[valid] / depth[valid])
        inside += valid.sum()
        close += (ratio < 1.25).sum()
        error += (np.abs(depth[valid] - sample.depth[valid]) / sample.depth[valid]).sum()
        known = sample.labels != IGNORE
        pair = sample.labels[known] * len(train.classes) + labels[known]
        confusion += np.bincount(pair, minlength=confusion.size).reshape(confusion.shape)
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    iou = np.diag(confusion)[union > 0] / union[union > 0]
    return {"delta1": close / inside, "abs_rel": error / inside, "miou": float(iou.mean())}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=CONFIG, help="YAML with splits and seeds")
    parser.add_argument("--output", type=Path, default=Path("data/drives"), help="folder to fill")
    parser.add_argument("--splits", nargs="+", help="splits to render; default: all")
    parser.add_argument("--drives", type=int, help="only the first so many drives of each split")
    parser.add_argument("--frames", type=int, help="only so many frames of each drive")
    parser.add_argument("--jobs", type=int, default=2, help="drives rendered at once (default 2)")
    parser.add_argument("--prior", action="store_true", help="only print the prior's scores")
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text())
    splits = args.splits or list(config["splits"])
    unknown = sorted(set(splits) - set(config["splits"]))
    if unknown:
        parser.error(f"no split {', '.join(unknown)} in {args.config}: {list(config['splits'])}")
    try:
        if not args.prior:
            wanted = [
                s for split in splits for s in specs(config, split, args.drives, args.frames)
            ]
            render_all(wanted, args.output, args.jobs)
        if args.prior or {"train", "test"} <= set(splits):
            scores = prior_scores(args.output)
            print("per-pixel prior of train on test: ", end="")
            print(", ".join(f"{name} {value:.3f}" for name, value in scores.items()))
    except (DataError, ImportError) as error:
        print(f"render_drives: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
