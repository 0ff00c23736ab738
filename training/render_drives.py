"""Render street drives into Cityscapes' layout.

    python training/render_drives.py                        # all splits, into data/drives
    python training/render_drives.py --splits train val     # only these splits
    python training/render_drives.py --splits train --drives 4 --frames 3 --output /tmp/few
    python training/render_drives.py --prior                # only print the scores of the prior

Frames on disk are skipped, so the same command continues an interrupted run. At the end the
command prints the classes of each split. With the splits train and test it also prints how a
per-pixel prior of train (mean depth, most frequent class) scores on test: it must score badly.

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

import jsonargparse
from jsonargparse.typing import PositiveInt
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from emu_core.data.cityscapes import Cityscapes
from emu_core.data.sample import DataError
from emu_core.drives.drive import DriveSpec
from emu_core.drives.rendering import RenderingError
from emu_core.drives.splits import SplitsError, load_splits
from emu_core.drives.survey import count_classes, learn_prior, score_prior
from emu_core.terminal import accept_any_text, orderly_end

_SHARED: dict[str, Any] = {}
"""In a worker process: `done`, the number of finished frames of all workers."""


def start_worker(done: Any) -> None:
    """Prepare a worker process; it exits when its parent exits for any reason."""
    _SHARED["done"] = done
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    parent = multiprocessing.parent_process()

    def exit_with_parent() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True).start()


def render_one(spec: DriveSpec, root: Path) -> int:
    """Render one drive in a worker process, and return the number of rendered frames."""
    from emu_core.drives.files import render  # imports MuJoCo

    def count() -> None:
        with _SHARED["done"].get_lock():
            _SHARED["done"].value += 1

    return render(spec, root, count)


def render_all(drives: Sequence[DriveSpec], root: Path, jobs: int) -> int:
    """Render drives in parallel with a progress bar, and return the number of rendered frames.

    Raises:
        RenderingError: rendering is impossible on this machine.
        OSError: a file cannot be written.
    """
    context = multiprocessing.get_context("spawn")  # an OpenGL context does not survive a fork
    done = context.Value("L", 0)
    times = (MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    rendered = 0
    pool = ProcessPoolExecutor(min(jobs, len(drives)), context, start_worker, (done,))
    try:
        columns, console = (*Progress.get_default_columns()[:2], *times), Console()
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("frames", total=sum(drive.count for drive in drives))
            pending = {pool.submit(render_one, drive, root) for drive in drives}
            while pending:
                ended, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                rendered += sum(future.result() for future in ended)
                bar.update(task, completed=done.value)
                if ended and not console.is_terminal:
                    finished = len(drives) - len(pending)
                    print(f"{finished}/{len(drives)} drives, {done.value} frames", flush=True)
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()  # safe: a frame without its last file is rendered again
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return rendered


def print_classes(root: Path, splits: Sequence[str]) -> None:
    """Print how many of the 19 classes occur in each split, and which are rare."""
    for split in splits:
        frames, counts = count_classes(root, split)
        missing = [name for name, count in counts.items() if not count]
        text = f"{len(counts) - len(missing)} of {len(counts)} classes"
        if missing:
            text += f", without {', '.join(missing)}"
        if rare := [f"{name} ({n})" for name, n in counts.items() if 0 < n < frames / 20]:
            text += f"; in few frames: {', '.join(rare)}"
        print(f"{split}: {frames} frames, {text}")


def print_prior(root: Path) -> None:
    """Print the scores of train's per-pixel prior on test."""
    prior = learn_prior(Cityscapes(root, "train"), stride=4)  # neighbouring frames are similar
    scores = score_prior(prior, Cityscapes(root, "test"))
    text = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    print(f"per-pixel prior of train on test: {text}")


def render_command(parser: jsonargparse.ArgumentParser, options: Any) -> None:
    """Run the command with its options."""
    every = load_splits(options.config)
    splits = options.splits or list(every)
    if unknown := ", ".join(split for split in splits if split not in every):
        parser.error(f"no split {unknown} in {options.config}; it has {', '.join(every)}")
    if not options.prior:
        drives = []
        for split in splits:
            seeds = sorted({spec.seed for spec in every[split]})[: options.drives]
            chosen = (spec for spec in every[split] if spec.seed in seeds)
            drives += [replace(spec, first=options.frames) for spec in chosen]
        count = render_all(drives, options.output, options.jobs)
        print(f"{options.output}: {len(drives)} drives, {count} frames rendered")
        print_classes(options.output, splits)
    if options.prior or {"train", "test"} <= set(splits):
        print_prior(options.output)


def main() -> int:
    """Run the command line; returns the exit code."""
    accept_any_text()
    parser = jsonargparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, cores = parser.add_argument, min(os.cpu_count() or 2, 8)
    config = Path(__file__).parent / "configs" / "drives.yaml"
    add("--config", type=Path, default=config, help="YAML with splits and seeds")
    add("--output", type=Path, default=Path("data/drives"), help="folder of the drives")
    add("--splits", nargs="+", help="splits to render (default: all)")
    add("--drives", type=PositiveInt, help="render only the first N seeds of each split")
    add("--frames", type=PositiveInt, help="render only the first N frames of each drive")
    add("--jobs", type=PositiveInt, default=cores, help=f"parallel drives (default: {cores})")
    add("--prior", action="store_true", help="only print the scores of the prior")
    options = parser.parse_args()
    status = 1
    try:
        with orderly_end():
            render_command(parser, options)
        return 0
    except (DataError, RenderingError, SplitsError) as error:
        message = str(error)
    except OSError as error:
        message = f"Cannot write {error.filename or options.output}: {error.strerror}."
    except BrokenProcessPool:
        message = (
            "A worker process was killed, perhaps for lack of memory. Finished frames are on "
            f"disk: run the same command again, with fewer --jobs than {options.jobs}."
        )
    except KeyboardInterrupt:
        message = "Interrupted. Finished frames are on disk: the same command continues."
        status = 128 + signal.SIGINT
    print(f"render_drives: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
