"""Predict classes, depth and their uncertainties of your own pictures, without ROS.

    python -m emu_core.predict street.jpg --fov 70        # a picture
    python -m emu_core.predict holiday/                   # all pictures of a folder
    python -m emu_core.predict dashcam.mp4 --every 30     # a video; the files of every 30th frame
    python -m emu_core.predict 0 --frames 100             # the camera /dev/video0; Ctrl-C ends it

Each picture gets a folder with its name below the output folder: overlay.png, panel.png,
classes.png, depth.png, depth.npy, points.ply, seen.csv and more (docs/pictures.md). A video or
camera gets overlay.mp4, seen.csv and, with --every, a folder for each chosen frame.

Depth is in metres if the lens is known: from --focal, from --fov, or from the EXIF of a picture.
Otherwise the command says which lens it assumes.

Exit codes: 0 all was predicted, 1 something could not be read or written (one line on stderr
each; all else is predicted), 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from emu_core.bags.errors import BagError
from emu_core.bags.video_writer import VideoWriter
from emu_core.data.sample import DataError
from emu_core.predict import table
from emu_core.predict.lens import Lens, LensOptions, find_lens
from emu_core.predict.outputs import MAX_STD_RATIO, Prediction, write_prediction
from emu_core.predict.sources import Picture, Source, open_source
from emu_core.runtime.fastest import AUTO
from emu_core.runtime.fitting import FITS
from emu_core.runtime.model_file import ModelError
from emu_core.runtime.perceiver import PROVIDERS, Perceiver, ProviderError
from emu_core.terminal import accept_any_text, system_problem


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    accept_any_text()
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        lens = LensOptions(options.focal, options.fov)
    except ValueError as error:
        parser.error(str(error))
    try:
        return Run(options, lens).run()
    except ModuleNotFoundError as error:
        say(f"the Python package {error.name} is missing: pip install 'emu_core[predict]'")
    except OSError as error:
        say(f"{system_problem(error)}.")
    except (DataError, BagError, ModelError, ProviderError) as error:
        say(" ".join(str(error).split()))
    except KeyboardInterrupt:
        say("interrupted; what was predicted before is complete.")
        return 130
    return 1


def say(text: str) -> None:
    """Print a line on stderr."""
    print(f"predict: {text}", file=sys.stderr, flush=True)


def predict(perceiver: Perceiver, picture: Picture, options: LensOptions) -> Prediction:
    """Run the model on a picture, with the depth of its lens."""
    size = picture.rgb.shape[:2]
    lens = find_lens(perceiver, size, options, picture.film_mm)
    perception = perceiver.perceive(picture.rgb, lens.focal)
    classes = perceiver.info.classes
    seen = table.survey(perception, classes)
    return Prediction(picture.rgb, perception, lens, perceiver.fitting(*size), classes, seen)


@dataclass
class Run:
    """One run of the command, and what it has done so far."""

    options: argparse.Namespace
    lens: LensOptions
    done: int = 0
    failed: int = 0
    surveys: list[dict[str, table.Row]] = field(default_factory=list)
    origins: set[str] = field(default_factory=set)

    def run(self) -> int:
        """Predict everything and print the table; returns the exit code."""
        options, start = self.options, time.monotonic()
        output: Path = options.output
        source = open_source(options.source, output)
        perceiver = Perceiver(options.model, provider=options.provider, fit=options.fit)
        folder = output / source.clip if source.clip else output
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._predict_all(source, perceiver, folder)
        except KeyboardInterrupt:
            if not source.live:
                raise
        if self.surveys:
            print(table.as_text(table.merge(self.surveys)))
        what = "frame" if source.clip else "picture"
        what += "s" * (self.done != 1)
        seconds = time.monotonic() - start
        failed = f"; {self.failed} could not be read" if self.failed else ""
        say(f"{self.done} {what} in {seconds:.1f} s{failed}: see {folder}")
        return 1 if self.failed or not self.done else 0

    def _predict_all(self, source: Source, perceiver: Perceiver, folder: Path) -> None:
        options = self.options
        pictures = islice(source.pictures, options.frames)
        with ExitStack() as stack:
            seen = video = None
            if source.clip or source.count != 1:  # a single picture has its own table
                file = (folder / "seen.csv").open("w", encoding="utf-8", newline="")
                seen = table.TableWriter(stack.enter_context(file))
            if source.clip:
                video = stack.enter_context(VideoWriter(folder / "overlay.mp4"))
            for picture in with_progress(pictures, options.frames or source.count):
                if isinstance(picture, DataError):
                    self.failed += 1
                    say(str(picture))
                    continue
                prediction = predict(perceiver, picture, self.lens)
                self._explain(prediction.lens)
                if not source.clip or (options.every and self.done % options.every == 0):
                    place = options.output / picture.name
                    write_prediction(place, picture.name, prediction, options.max_std_ratio)
                if video is not None:
                    caption = f"t = {picture.time_s:.2f} s"
                    video.write(prediction.panel(caption), picture.time_s)
                if seen is not None:
                    seen.add(picture.name, prediction.seen)
                self.surveys.append(prediction.seen)
                self.done += 1

    def _explain(self, lens: Lens) -> None:
        """Say once for each origin which lens is used."""
        if lens.text and lens.origin not in self.origins:
            self.origins.add(lens.origin)
            say(lens.text)


def with_progress(
    pictures: Iterable[Picture | DataError], count: int | None
) -> Iterator[Picture | DataError]:
    """Yield pictures with a bar on stderr if it is a terminal and rich is installed."""
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError:
        yield from pictures
        return
    console = Console(stderr=True)
    hidden = not console.is_terminal or count == 1
    yield from track(pictures, "pictures", count, console=console, transient=True, disable=hidden)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        "python -m emu_core.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", help="picture, folder, video, or number of a camera")
    output = Path("out/predict")
    add("--output", type=Path, default=output, help="folder of the results (%(default)s)")
    add("--model", type=Path, help="model file (default: the one that comes with emu_core)")
    add("--focal", type=float, metavar="PX", help="focal length in pixels of the picture")
    add("--fov", type=float, metavar="DEG", help="horizontal field of view, degrees")
    every = "of a video or camera, write all files of every N-th frame (default: of none)"
    add("--every", type=_count, metavar="N", help=every)
    add("--frames", type=_count, metavar="N", help="stop after N pictures or frames")
    ratio = "leave points with a larger depth deviation / depth out of the cloud (%(default)s)"
    add("--max-std-ratio", type=_ratio, default=MAX_STD_RATIO, metavar="R", help=ratio)
    add_inference_options(parser)
    return parser


def add_inference_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a `Perceiver` beside its model."""
    fit = "how other aspect ratios are resized (%(default)s)"
    parser.add_argument("--fit", choices=FITS, default=FITS[0], help=fit)
    provider = "execution provider of the inference (%(default)s)"
    parser.add_argument("--provider", choices=(AUTO, *PROVIDERS), default="cpu", help=provider)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, but got {text}")
    return value


def _ratio(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, but got {text}")
    return value
