"""The page: what it consists of, and what happens when something is dropped or moved."""

# Without `from __future__ import annotations`: Gradio reads the annotation of `request`.
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from emu_core.bags.video_writer import VideoWriter
from emu_core.data.sample import DataError
from emu_core.predict import table
from emu_core.predict.command import predict
from emu_core.predict.lens import LensOptions
from emu_core.predict.outputs import Prediction
from emu_core.predict.sources import open_source
from emu_core.runtime.perceiver import Perceiver
from emu_core.web.views import VIEWS, views, write_cloud

CERTAINTY = 0.5
"""Certainty at which the slider begins."""

_KEPT_S = 3600
_FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["monospace"]}
_INTRODUCTION = """# What EMU sees
Drop a picture or a clip of a street below."""
_SLIDER = (
    "Classes: 1 − entropy / ln C. Depth and points: 1 − deviation / depth. 0 shows everything."
)


class Page:
    """The functions behind the page.

    Args:
        perceiver: The model.
        folder: Folder for the point clouds and videos that are shown.
        clip_frames: Number of frames of a clip that are predicted.
    """

    def __init__(self, perceiver: Perceiver, folder: Path, clip_frames: int) -> None:
        self._perceiver, self._folder, self._clip_frames = perceiver, folder, clip_frames

    def cloud(self, prediction: Prediction | None, certainty: float, name: str) -> str | None:
        """Write the points with enough certainty and return the path; None if there are none.

        Args:
            prediction: What is shown.
            certainty: What is less certain is hidden.
            name: Name of the file, one for each visitor.
        """
        path = self._folder / f"{name}.glb"
        written = prediction is not None and write_cloud(path, prediction, certainty)
        return str(path) if written else None

    def first(self, file: str | None, focal: float | None, fov: float | None) -> Prediction | None:
        """Predict a picture, or the first frame of a clip; None if there is no file.

        Raises:
            DataError: The file cannot be read.
            ValueError: The lens is impossible.
        """
        return next(self._predictions(file, focal, fov))[1] if file else None

    def clip(
        self, file: str | None, focal: float | None, fov: float | None, name: str
    ) -> list[Any] | None:
        """Predict all frames of a clip.

        Returns:
            Sentence, table, and path of the video; None if the file is no clip.

        Raises:
            DataError, ValueError: See `first`.
        """
        if not file or not open_source(file, self._folder).clip:
            return None
        text, surveys = "", []
        path = self._folder / f"{name}.mp4"
        with VideoWriter(path) as video:
            for time_s, prediction in self._predictions(file, focal, fov):
                text = prediction.lens.text
                surveys.append(prediction.seen)
                video.write(prediction.panel(f"t = {time_s:.2f} s"), time_s)
        text = f"{text} The maps are those of the first of {len(surveys)} frames."
        return [text, table.cells(table.merge(surveys)), str(path)]

    def _predictions(
        self, file: str, focal: float | None, fov: float | None
    ) -> Iterator[tuple[float, Prediction]]:
        """Times in seconds and predictions of the frames."""
        lens = LensOptions(focal or None, fov or None)
        for picture in islice(open_source(file, self._folder).pictures, self._clip_frames):
            if isinstance(picture, DataError):
                raise DataError(str(picture).replace(file, Path(file).name))
            yield picture.time_s, predict(self._perceiver, picture, lens)


_VIEWER_LOADED = """async (...inputs) => {
    while (!document.getElementById("cloud")) await new Promise(done => setTimeout(done, 50));
    return inputs;
}"""
"""Gradio 6.31 never shows a cloud that arrives before the code of `Model3D`."""


def build(page: Page) -> Any:
    """Return the Gradio application.

    No handler of the cloud is a generator: Gradio sends the last values of a generator twice. If
    a cloud arrives twice while the browser loads the 3D viewer, Gradio 6.31 never shows it.
    """
    import gradio as gr

    def dropped(
        file: str | None, focal: float | None, fov: float | None, certainty: float
    ) -> list[Any]:
        with _errors_shown():
            prediction = page.first(file, focal, fov)
        images = shown(prediction, certainty)
        if prediction is None:
            return [None, "", *images, None, _video(None)]
        text, rows = prediction.lens.text, table.cells(prediction.seen)
        return [prediction, text, *images, _grid(rows), _video(None)]

    def finished(
        file: str | None, focal: float | None, fov: float | None, request: gr.Request
    ) -> list[Any]:
        with _errors_shown():
            found = page.clip(file, focal, fov, str(request.session_hash))
        if found is None:
            return [gr.skip()] * 3
        text, rows, path = found
        return [text, _grid(rows), _video(path)]

    def shown(prediction: Prediction | None, certainty: float) -> list[Any]:
        return [*views(prediction, certainty).values()] if prediction else [None] * len(VIEWS)

    def points(prediction: Prediction | None, certainty: float, request: gr.Request) -> str | None:
        return page.cloud(prediction, certainty, str(request.session_hash))

    with gr.Blocks(
        title="EMU", analytics_enabled=False, delete_cache=(_KEPT_S, _KEPT_S)
    ) as blocks:
        gr.Markdown(_INTRODUCTION)
        kept = gr.State(time_to_live=_KEPT_S)
        with gr.Row():
            file = gr.File(
                label="Picture or clip",
                file_types=["image", "video"],
                height=140,
                elem_id="file",
                scale=2,
            )
            with gr.Column(scale=1):
                focal = gr.Number(label="Focal length, pixels of the picture (0: unknown)")
                fov = gr.Number(label="or horizontal field of view, degrees (0: unknown)")
            with gr.Column(scale=1):
                title = "Hide what is less certain than"
                slider = gr.Slider(0, 1, CERTAINTY, label=title, info=_SLIDER, elem_id="certainty")
                again = gr.Button("Predict again")
        note = gr.Markdown(elem_id="note")
        images = []
        for pair in (VIEWS[:2], VIEWS[2:]):
            with gr.Row():
                images += [
                    gr.Image(
                        label=each,
                        format="png",
                        interactive=False,
                        buttons=["download", "fullscreen"],
                        elem_id=_id(each),
                    )
                    for each in pair
                ]
        with gr.Row():
            cloud = gr.Model3D(
                label="Points: drag to turn, wheel to zoom",
                height=420,
                clear_color=(0.1, 0.1, 0.12, 1.0),
                interactive=False,
                elem_id="cloud",
                scale=3,
            )
            titles = ["class", *(title for title, _ in table.COLUMNS.values())]
            seen = gr.Dataframe(
                headers=titles, label="What was seen", interactive=False, elem_id="seen", scale=2
            )
        video = gr.Video(label="All maps of the clip", visible=False, interactive=False)
        outputs = [kept, note, *images, seen, video]
        starts = [file.change, again.click, focal.submit, fov.submit]
        predicted = gr.on(starts, dropped, [file, focal, fov, slider], outputs)
        predicted.success(finished, [file, focal, fov], [note, seen, video])
        slider.release(shown, [kept, slider], images, show_progress="hidden")
        for change in (predicted.success, slider.release):
            change(points, [kept, slider], cloud, js=_VIEWER_LOADED, show_progress="hidden")
    return blocks


@contextmanager
def _errors_shown() -> Iterator[None]:
    """Show what is wrong with a file or a lens on the page."""
    import gradio as gr

    try:
        yield
    except (ValueError, OSError) as error:  # DataError as well
        raise gr.Error(str(error), duration=None) from error


def _grid(rows: list[list[str]] | None) -> Any:
    """The table of what was seen; None for no table."""
    import gradio as gr

    return gr.update(headers=rows[0], value=rows[1:]) if rows else None


def _video(path: str | None) -> Any:
    import gradio as gr

    return gr.update(value=path, visible=path is not None)


def _id(title: str) -> str:
    return title.lower().replace(" ", "-")


def serve(perceiver: Perceiver, host: str, port: int, clip_frames: int) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        OSError: The address is in use.
    """
    import gradio as gr

    perceiver.perceive(np.zeros((32, 64, 3), np.uint8))  # the first run is slower
    with tempfile.TemporaryDirectory(prefix="emu_web_") as folder:
        blocks = build(Page(perceiver, Path(folder), clip_frames))
        blocks.queue().launch(
            server_name=host,
            server_port=port,
            share=False,
            ssr_mode=False,
            quiet=True,
            prevent_thread_lock=True,
            theme=gr.themes.Default(**_FONTS),
            footer_links=[],
        )
        print(f"The page is at {blocks.local_url} (Ctrl-C ends it).", flush=True)
        blocks.block_thread()
