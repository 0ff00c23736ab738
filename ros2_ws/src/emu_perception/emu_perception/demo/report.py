"""The demo's summary.json and its report.html, which needs no other file than the video."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from emu_core.runtime.model_file import ModelInfo
from emu_perception.demo.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MEANING = {
    "miou": "mean intersection over union of the classes that occur",
    "depth_rmse_m": "root mean square error of depth, metres",
    "depth_abs_rel": "mean of |error| / depth",
    "depth_delta1": "share of pixels within a factor of 1.25 of the true depth",
    "depth_coverage": "share of pixels with ground truth whose depth estimate is finite",
    "depth_interval_90": "share of true depths inside the 90 % interval; 0.9 is right",
    "label_ece": "calibration error of 1 - entropy / ln C (not of the top probability)",
    "label_error_auroc": "how well class uncertainty ranks wrong pixels; 0.5 is chance",
    "depth_ratio_error_auroc": "how well std/depth ranks errors beyond a factor of 1.25",
    "depth_ratio_error_auroc_given": "the same, where there is an estimate",
    "depth_metre_error_auroc": "how well std ranks errors beyond 1 m; 0.5 is chance",
    "depth_false_infinity": "share of pixels with ground truth that pass for free: depth +Inf",
}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px;
       padding: 0 1rem; color: #1c1c22; }
img, svg { max-width: 100%; height: auto; } h1, h2 { line-height: 1.2; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; }
tr + tr td { border-top: 1px solid #ddd; } .muted { color: #666; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } .plots > * { flex: 1 1 320px; }
"""

_NO_TRUTH = "<p>The bag has no ground truth.</p>"


def summarize(
    results: Results, model: ModelInfo, provider: str, dropped: int | None
) -> dict[str, Any]:
    """Content of summary.json.

    Metrics are null where the bag has no ground truth, and absent where the model has no output.
    """
    latency = list(results.latency_ms.values())
    ranks = [50, 95, 100]
    percentiles = np.percentile(latency, ranks).round(2).tolist() if latency else [None] * 3
    metrics: dict[str, float | None] = {**results.metrics.compute()}
    if not results.evaluated:
        metrics = dict.fromkeys(metrics)
    return {
        "frames_in": len(results.stamps_in),
        "frames_out": len(results.stamps_out),
        "stamps_matched": len(set(results.stamps_in) & set(results.stamps_out)),
        "dropped": dropped,
        "topics": results.topics,
        "latency_ms": dict(zip(("p50", "p95", "max"), percentiles, strict=True)),
        "model": {"name": model.name, "sha256": model.sha256},
        "provider": provider,
        **{name: _number(value) for name, value in metrics.items()},
    }


def write_report(path: Path, summary: dict[str, Any], results: Results, model: ModelInfo) -> None:
    """Write report.html: images, metrics, latency, tables of classes and topics."""
    latency = {name: _shown(value, 0) for name, value in summary["latency_ms"].items()}
    rows = [
        (name, _shown(summary[name]), meaning)
        for name, meaning in _MEANING.items()
        if name in summary
    ]
    metrics = _table(("metric", "value", "meaning"), rows) if results.evaluated else _NO_TRUTH
    pictures = "".join(
        f'<p><img alt="frame" src="data:image/jpeg;base64,{_jpeg(p)}"></p>'
        for p in results.pictures
    )
    path.write_text(
        f"""<!doctype html><html lang=en><meta charset=utf-8>
<meta name=viewport content="width=device-width"><title>EMU demo</title><style>{_STYLE}</style>
<h1>EMU demo: semantic segmentation, metric depth and their uncertainties from one camera</h1>
<p>The ROS 2 node answered {summary["frames_out"]} of {summary["frames_in"]} frames with
{html.escape(model.name)} on {html.escape(summary["provider"])}. Latency from the player's publish
to the recorder's receipt: median {latency["p50"]} ms, 95 % {latency["p95"]} ms, maximum
{latency["max"]} ms. Video of the drive: <a href="overlay.mp4">overlay.mp4</a>.</p>{pictures}
<h2>Metrics on this drive</h2>{metrics}
<div class=plots>{_plots(results)}</div>
<h2>Classes</h2>{_class_table(results, model)}
<h2>Topics</h2>{_topic_table(summary["topics"])}
<h2>Model</h2><p>{html.escape(model.training_data)}<br>
<span class=muted>{html.escape(model.path.name)}, SHA-256 {model.sha256}</span></p></html>
""",
        encoding="utf-8",
    )


def _number(value: float | None) -> float | None:
    """Round for JSON, which has no NaN: what could not be measured is None."""
    return None if value is None or not math.isfinite(value) else round(float(value), 5)


def _shown(value: float | None, digits: int = 3) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"


def _jpeg(rgb: np.ndarray) -> str:
    code = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    return base64.b64encode(code.tobytes()).decode()


def _plots(results: Results) -> str:
    """Latency histogram and, with ground truth, the reliability curve, as SVG."""
    from matplotlib.figure import Figure

    latency, reliability = (Figure((4.4, 3), layout="constrained") for _ in range(2))
    axes = latency.subplots()
    axes.hist(list(results.latency_ms.values()), bins=30, color="#3b6ea5")
    axes.set(xlabel="latency, ms", ylabel="frames", title="From image to answer")
    if not (results.evaluated and results.same_classes):
        return _svg(latency)
    curve, axes = results.metrics.calibration.compute(), reliability.subplots()
    axes.plot([0, 1], [0, 1], color="#bbb")
    axes.plot(curve["bin_confidence"], curve["bin_accuracy"], "o-", color="#3b6ea5")
    axes.set(xlabel="confidence: 1 - entropy / ln C", ylabel="share of correct pixels")
    axes.set(title="Reliability of the classes", xlim=(0, 1), ylim=(0, 1))
    return _svg(latency) + _svg(reliability)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return f"<div><svg{text.getvalue().partition('<svg')[2]}</div>"


def _class_table(results: Results, model: ModelInfo) -> str:
    if not results.evaluated:
        return _NO_TRUTH
    if not model.classes:
        return "<p>The model has no classes.</p>"
    if not results.same_classes:
        return "<p>The ground truth has other classes than the model: only depth is scored.</p>"
    scores: Any = results.metrics.confusion.compute()
    share = scores["support"] / max(scores["support"].sum(), 1)
    rows = [
        (name, _shown(_number(iou)) if present else "not in this drive", f"{100 * part:.2f} %")
        for name, iou, present, part in zip(
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
    def cells(kind: str, row: Iterable[Any]) -> str:
        return "".join(f"<{kind}>{html.escape(str(cell))}</{kind}>" for cell in row)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{cells('th', head)}</tr>{body}</table>"
