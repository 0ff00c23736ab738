"""The demo's summary.json and report.html (self-contained: open it in any browser)."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from emu_core.runtime.model_file import ModelInfo
from emu_perception.demo.results import Results

_MEANING = {
    "miou": "mean intersection over union, over the classes that occur",
    "depth_rmse_m": "root mean square error of depth, metres",
    "depth_abs_rel": "mean of |error| / depth",
    "depth_delta1": "share of pixels within a factor 1.25 of the truth",
    "depth_coverage": "share of pixels with ground truth that got a finite depth",
    "label_ece": "calibration error of 1 - entropy / ln C (not of the top probability)",
    "label_error_auroc": "does class uncertainty find wrong pixels? 0.5 is chance",
    "depth_error_auroc": "does depth uncertainty find errors beyond 1.25? 0.5 is chance",
}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px;
       padding: 0 1rem; color: #1c1c22; }
img, svg { max-width: 100%; height: auto; } h1, h2 { line-height: 1.2; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
tr + tr td { border-top: 1px solid #ddd; } .muted { color: #666; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } .plots > * { flex: 1 1 320px; }
"""


def summarize(
    results: Results, model: ModelInfo, provider: str, dropped: int | None
) -> dict[str, Any]:
    """The content of summary.json; metrics are null where the bag has no ground truth."""
    latency = np.array(list(results.latency_ms.values()))
    scores = results.metrics.compute() if results.evaluated else dict.fromkeys(_MEANING)
    return {
        "frames_in": len(results.stamps_in),
        "frames_out": len(results.stamps_out),
        "stamps_matched": len(set(results.stamps_in) & set(results.stamps_out)),
        "dropped": dropped,
        "topics": results.topics,
        "latency_ms": {
            name: round(float(value), 2) if latency.size else None
            for name, value in zip(
                ("p50", "p95", "max"),
                np.percentile(latency, [50, 95, 100]) if latency.size else [0, 0, 0],
                strict=True,
            )
        },
        "model": {"name": model.name, "sha256": model.sha256},
        "provider": provider,
        **{name: _number(value) for name, value in scores.items()},
    }


def write_report(path: Path, summary: dict[str, Any], results: Results, model: ModelInfo) -> None:
    """Write report.html: pictures, metrics, latency, per-class table."""
    metrics = "".join(
        f"<tr><td><code>{name}</code></td><td class=n>{_shown(summary[name])}</td>"
        f"<td class=muted>{html.escape(meaning)}</td></tr>"
        for name, meaning in _MEANING.items()
    )
    latency = summary["latency_ms"]
    pictures = "".join(
        f'<p><img alt="frame" src="data:image/jpeg;base64,{_jpeg(p)}"></p>'
        for p in results.pictures
    )
    path.write_text(
        f"""<!doctype html><html lang=en><meta charset=utf-8>
<meta name=viewport content="width=device-width"><title>EMU demo</title><style>{_STYLE}</style>
<h1>EMU: one camera in; classes, metres and trust out</h1>
<p>{summary["frames_out"]} of {summary["frames_in"]} frames answered by the ROS 2 node with
{html.escape(model.name)} on {html.escape(summary["provider"])}; latency from the player's publish
to the recorder's receipt: median {_shown(latency["p50"], 0)} ms, 95 % {_shown(latency["p95"], 0)}
ms, longest {_shown(latency["max"], 0)} ms. The whole drive: <a href="overlay.mp4">overlay.mp4</a>.
</p>{pictures}
<h2>Measured on this drive</h2><table>{metrics}</table>
<div class=plots>{_plots(results)}</div>
<h2>Classes</h2>{_class_table(results, model)}
<h2>Topics</h2>{_topic_table(summary["topics"])}
<h2>Model</h2><p>{html.escape(model.training_data)}<br>
<span class=muted>{html.escape(model.path.name)}, SHA-256 {model.sha256}</span></p></html>
""",
        encoding="utf-8",
    )


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write summary.json."""
    path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def _number(value: float | None) -> float | None:
    """JSON knows no NaN: what could not be measured is null."""
    return None if value is None or not math.isfinite(value) else round(float(value), 5)


def _shown(value: float | None, digits: int = 3) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"


def _jpeg(rgb: np.ndarray) -> str:
    code = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    return base64.b64encode(code.tobytes()).decode()


def _plots(results: Results) -> str:
    """Latency histogram and, with ground truth, the reliability curve, as SVG."""
    from matplotlib.figure import Figure

    figures = []
    figure = Figure((4.4, 3), layout="constrained")
    axes = figure.subplots()
    axes.hist(list(results.latency_ms.values()), bins=30, color="#3b6ea5")
    axes.set(xlabel="latency, ms", ylabel="frames", title="From image to answer")
    figures.append(figure)
    if results.evaluated:
        curve: Any = results.metrics.calibration.compute()
        figure = Figure((4.4, 3), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="#bbb")
        axes.plot(curve["bin_confidence"], curve["bin_accuracy"], "o-", color="#3b6ea5")
        axes.set(xlabel="1 - entropy / ln C", ylabel="share of right pixels",
                 title="Sure pixels are right pixels", xlim=(0, 1), ylim=(0, 1))  # fmt: skip
        figures.append(figure)
    return "".join(f"<div>{_svg(figure)}</div>" for figure in figures)


def _svg(figure: Any) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]


def _class_table(results: Results, model: ModelInfo) -> str:
    if not results.evaluated:
        return "<p>The bag has no ground truth.</p>"
    scores: Any = results.metrics.confusion.compute()
    share = scores["support"] / max(scores["support"].sum(), 1)
    rows = [
        (name, _shown(_number(iou)) if there else "not in this drive", f"{100 * part:.2f} %")
        for name, iou, there, part in zip(
            model.classes.names, scores["iou"], scores["present"], share, strict=True
        )
    ]
    return _table(("class", "IoU", "share of pixels"), rows)


def _topic_table(topics: dict[str, dict[str, Any]]) -> str:
    rows = [
        (name, t["type"], t["encoding"], f"{t.get('width', '')}×{t.get('height', '')}", t["count"])
        for name, t in topics.items()
    ]
    return _table(("topic", "type", "encoding", "size", "messages"), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{titles}</tr>{body}</table>"
