"""Render street drives into Cityscapes' layout.

    python training/render_drives.py                        # every split into data/drives
    python training/render_drives.py --splits train val     # some of them
    python training/render_drives.py --splits train --drives 4 --frames 3 --output /tmp/few
    python training/render_drives.py --prior                # only: what a per-pixel prior scores

Frames that are on disk already are skipped, so a killed run goes on where it stopped. At the end
it prints which classes each split holds and, where train and test are there, what the per-pixel
prior (mean depth, most frequent class) of train scores on test: it must score badly.

Rendering needs `mujoco` and an OpenGL library (Debian: libegl1 libgl1-mesa-dri); reading drives
does not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from emu_core.data.cityscapes import Cityscapes
from emu_core.data.sample import DataError
from emu_core.drives.drive import DriveSpec
from emu_core.drives.rendering import RenderingError
from emu_core.drives.splits import SplitsError, load_splits
from emu_core.drives.survey import count_classes, learn_prior, score_prior

CONFIG = Path(__file__).parent / "configs" / "drives.yaml"

PRIOR_STRIDE = 4
"""The prior learns from every so many-th frame of train: neighbours are alike."""

_SHARED: dict[str, Any] = {}
"""In a worker process: `done`, the counter of frames that all workers share."""


def start_worker(done: Any) -> None:
    """Prepare a worker process; it ends with its parent, however that ends."""
    _SHARED["done"] = done
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def render_one(spec: DriveSpec, root: Path) -> int:
    """Render one drive in a worker process; returns how many frames were not there yet."""
    from emu_core.drives.files import render  # imports MuJoCo

    def count() -> None:
        with _SHARED["done"].get_lock():
            _SHARED["done"].value += 1

    return render(spec, root, count)


def render_all(drives: Sequence[DriveSpec], root: Path, jobs: int) -> int:
    """Render drives in parallel, with a progress bar of frames.

    Returns:
        How many frames were not on disk yet.

    Raises:
        RenderingError: drives cannot be rendered here.
        OSError: a file cannot be written.
    """
    context = multiprocessing.get_context("spawn")  # an OpenGL context does not survive a fork
    done = context.Value("L", 0)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    rendered = finished = 0
    pool = ProcessPoolExecutor(min(jobs, len(drives)), context, start_worker, (done,))
    try:
        with Progress(*columns) as bar:
            task = bar.add_task("frames", total=sum(drive.count for drive in drives))
            pending = {pool.submit(render_one, drive, root) for drive in drives}
            while pending:
                ended, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                rendered += sum(future.result() for future in ended)
                finished += len(ended)
                bar.update(task, completed=done.value)
                if ended and not bar.console.is_terminal:
                    print(f"{finished}/{len(drives)} drives, {done.value} frames", flush=True)
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()  # safe at any time: a frame counts once its last file is there
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return rendered


def print_classes(root: Path, splits: Sequence[str]) -> None:
    """Print how many of the 19 classes occur in each split, and which are rare."""
    for split in splits:
        counts = count_classes(root, split)
        names = counts.frames_with
        text = f"{len(names) - len(counts.missing)} of {len(names)} classes"
        if counts.missing:
            text += f", without {', '.join(counts.missing)}"
        rare = {n: c for n, c in names.items() if 0 < c < counts.frames / 20}
        if rare:
            text += "; in few frames: " + ", ".join(f"{n} ({c})" for n, c in rare.items())
        print(f"{split}: {counts.frames} frames, {text}")


def print_prior(root: Path) -> None:
    """Print what the per-pixel prior of train scores on test."""
    prior = learn_prior(Cityscapes(root, "train"), PRIOR_STRIDE)
    scores = score_prior(prior, Cityscapes(root, "test"))
    print(
        f"per-pixel prior of train on test: delta1 {scores.delta1:.3f}, abs_rel "
        f"{scores.abs_rel:.3f}, miou {scores.miou:.3f}"
    )


def positive(text: str) -> int:
    """A command-line number of at least 1."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def command_line() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores = min(os.cpu_count() or 2, 8)
    parser.add_argument("--config", type=Path, default=CONFIG, help="YAML with splits and seeds")
    parser.add_argument("--output", type=Path, default=Path("data/drives"), help="folder to fill")
    parser.add_argument("--splits", nargs="+", help="splits to render; default: all")
    parser.add_argument(
        "--drives", type=positive, help="only the first so many seeds of each split"
    )
    parser.add_argument("--frames", type=positive, help="only the first so many frames of each")
    parser.add_argument(
        "--jobs", type=positive, default=cores, help=f"drives rendered at once (default {cores})"
    )
    parser.add_argument("--prior", action="store_true", help="only print the prior's scores")
    return parser


def choose(
    every: dict[str, list[DriveSpec]],
    splits: Sequence[str],
    drives: int | None,
    frames: int | None,
) -> list[DriveSpec]:
    """The drives of some splits, perhaps only the first ones and only their first frames."""
    chosen = []
    for split in splits:
        seeds = sorted({spec.seed for spec in every[split]})[:drives]
        chosen += [replace(spec, first=frames) for spec in every[split] if spec.seed in seeds]
    return chosen


def main() -> int:
    """Command line."""
    parser = command_line()
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        every = load_splits(args.config)
        splits = args.splits or list(every)
        unknown = [split for split in splits if split not in every]
        if unknown:
            parser.error(
                f"no split {', '.join(unknown)} in {args.config}; it has {', '.join(every)}"
            )
        if not args.prior:
            drives = choose(every, splits, args.drives, args.frames)
            count = render_all(drives, args.output, args.jobs)
            print(f"{args.output}: {len(drives)} drives, {count} frames rendered")
            print_classes(args.output, splits)
        if args.prior or {"train", "test"} <= set(splits):
            print_prior(args.output)
    except (DataError, RenderingError, SplitsError) as error:
        return fail(str(error))
    except OSError as error:
        return fail(f"Cannot write {error.filename or args.output}: {error.strerror}.")
    except BrokenProcessPool:
        return fail(
            "A worker process was killed, perhaps for lack of memory. Finished frames are on "
            f"disk; run the same command again, with fewer --jobs than {args.jobs}."
        )
    except KeyboardInterrupt:
        fail("Interrupted. Finished frames are on disk; the same command goes on from there.")
        return 128 + signal.SIGINT
    return 0


def fail(message: str) -> int:
    """Say on stderr what went wrong."""
    print(f"render_drives: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
