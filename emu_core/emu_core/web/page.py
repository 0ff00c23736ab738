"""The page: what it consists of, and what happens when something is dropped or moved."""

# Without `from __future__ import annotations`: Gradio reads the annotation of `request`.
import tempfile
from collections.abc import Iterator
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
from emu_core.web.views import VIEWS, views, write_cloud, write_empty_cloud

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

    def show(self, prediction: Prediction | None, certainty: float, name: str) -> list[Any]:
        """Return the images of `VIEWS` and the path of the cloud; all None without a prediction.

        Args:
            prediction: What is shown.
            certainty: What is less certain is hidden.
            name: Name of the cloud's file, one for each visitor.
        """
        if prediction is None:
            return [None] * (len(VIEWS) + 1)
        cloud = self._folder / f"{name}.glb"
        written = write_cloud(cloud, prediction, certainty)
        images = views(prediction, certainty)
        return [*images.values(), str(cloud) if written else None]

    def run(
        self, file: str | None, focal: float | None, fov: float | None, certainty: float, name: str
    ) -> Iterator[list[Any]]:
        """Predict a picture or a clip: prediction, sentence, views, cloud, table, video.

        Of a clip, the first frame is shown, and the video at the end.

        Raises:
            DataError: The file cannot be read.
            ValueError: The lens is impossible.
        """
        nothing = self.show(None, certainty, name)
        if not file:
            yield [None, "", *nothing, None, None]
            return
        lens = LensOptions(focal or None, fov or None)
        source = open_source(file, self._folder)
        first: Prediction | None = None
        text, shown = "", nothing
        surveys: list[dict[str, table.Row]] = []
        video: VideoWriter | None = None
        path = self._folder / f"{name}.mp4"
        try:
            for picture in islice(source.pictures, self._clip_frames):
                if isinstance(picture, DataError):
                    raise DataError(str(picture).replace(file, Path(file).name))
                prediction = predict(self._perceiver, picture, lens)
                surveys.append(prediction.seen)
                if first is None:
                    first, text = prediction, prediction.lens.text
                    shown = self.show(first, certainty, name)
                    yield [first, text, *shown, table.cells(first.seen), None]
                if source.clip:
                    video = video or VideoWriter(path)
                    with_time = prediction.panel(f"t = {picture.time_s:.2f} s")
                    video.write(with_time, picture.time_s)
        finally:
            if video is not None:
                video.close()
        if source.clip:
            text = f"{text} The maps are those of the first of {len(surveys)} frames."
            yield [first, text, *shown, table.cells(table.merge(surveys)), str(path)]


def build(page: Page, empty_cloud: Path) -> Any:
    """Return the Gradio application; it writes and shows `empty_cloud` in the beginning."""
    import gradio as gr

    # The browser then loads the 3D viewer with the page. Gradio 6.31 never shows a cloud that
    # arrives twice, as from a generator, while it loads its viewer.
    write_empty_cloud(empty_cloud)

    def dropped(
        file: str | None,
        focal: float | None,
        fov: float | None,
        certainty: float,
        request: gr.Request,
    ) -> Iterator[list[Any]]:
        try:
            for found in page.run(file, focal, fov, certainty, str(request.session_hash)):
                *most, rows, video = found
                titles, *lines = rows or [None]
                grid = gr.update(headers=titles, value=lines) if rows else None
                yield [*most, grid, gr.update(value=video, visible=video is not None)]
        except (ValueError, OSError) as error:  # DataError as well
            raise gr.Error(str(error), duration=None) from error

    def moved(prediction: Prediction | None, certainty: float, request: gr.Request) -> list[Any]:
        return page.show(prediction, certainty, str(request.session_hash))

    with gr.Blocks(
        title="EMU", analytics_enabled=False, delete_cache=(_KEPT_S, _KEPT_S)
    ) as blocks:
        gr.Markdown(_INTRODUCTION)
        kept = gr.State(time_to_live=_KEPT_S)
        with gr.Row():
            kinds = ["image", "video"]
            file = gr.File(label="Picture or clip", file_types=kinds, height=140, scale=2)
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
                str(empty_cloud),
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
        shown = [*images, cloud]
        outputs = [kept, note, *shown, seen, video]
        starts = [file.change, again.click, focal.submit, fov.submit]
        gr.on(starts, dropped, [file, focal, fov, slider], outputs)
        slider.release(moved, [kept, slider], shown, show_progress="hidden")
    return blocks


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
        blocks = build(Page(perceiver, Path(folder), clip_frames), Path(folder, "empty.glb"))
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
