"""Compute the demo's metrics, images and video from its bags and reports, without ROS."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emu_core.bags import ground_truth
from emu_core.bags.images import to_rgb
from emu_core.bags.reader import Bag, open_bag
from emu_core.bags.video_writer import write_video
from emu_core.data.cityscapes import MAX_DEPTH
from emu_core.labels import IGNORE
from emu_core.metrics import PerceptionMetrics
from emu_core.runtime.model_file import ModelInfo
from emu_core.runtime.overlay import panel
from emu_core.runtime.perceiver import Perception
from emu_core.runtime.scoring import score_frame

PICTURES = 4
MAPS = {
    "semantic/image": "labels",
    "semantic/uncertainty": "label_uncertainty",
    "depth/image": "depth",
    "depth/uncertainty": "depth_std",
}
"""Fields of a Perception by the node's topic."""


@dataclass(frozen=True)
class SourceFrame:
    """Image that was played, and its ground truth (None where the bag has none)."""

    stamp_ns: int
    rgb: np.ndarray
    labels: np.ndarray | None
    depth: np.ndarray | None


@dataclass
class Results:
    """Measurements of the demo.

    `latency_ms` is the time from a frame's publish to the receipt of its last answer, by stamp;
    `stamps_in` are the played frames, `stamps_out` the answered ones, and `evaluated` counts those
    with ground truth. `same_classes` says whether model and ground truth have the same classes;
    otherwise only depth is scored.
    """

    stamps_in: list[int]
    latency_ms: dict[int, float]
    metrics: PerceptionMetrics
    same_classes: bool
    stamps_out: list[int] = field(default_factory=list)
    topics: dict[str, dict[str, Any]] = field(default_factory=dict)
    pictures: list[np.ndarray] = field(default_factory=list)
    evaluated: int = 0


def collect(
    bag_path: Path, output: Path, image: str, info: str | None, model: ModelInfo
) -> Results:
    """Match answers with images and ground truth by their stamps, and write overlay.mp4.

    `image` and `info` are topics of the played bag; `output` holds the demo's bag/ and logs/.
    """
    played = json.loads((output / "logs" / "player.json").read_text(encoding="utf-8"))["frames"]
    receipts = json.loads((output / "logs" / "recorder.json").read_text(encoding="utf-8"))[
        "messages"
    ]
    results = Results(
        stamps_in=[frame["stamp_ns"] for frame in played],
        latency_ms=_latencies(played, receipts),
        metrics=PerceptionMetrics(len(model.classes), MAX_DEPTH, outputs=model.outputs),
        same_classes=model.classes.names == ground_truth.CLASSES.names,
    )
    with open_bag(bag_path) as source, open_bag(output / "bag") as answers:
        results.topics = _describe(answers)
        pairs = _matched(_source_frames(source, image, info), _perceptions(answers), results)
        pictures = _evaluated(pairs, results, model)
        write_video(output / "overlay.mp4", pictures, _rate(results.stamps_in))
    return results


def _latencies(played: list[dict], receipts: list[dict]) -> dict[int, float]:
    """Milliseconds from a frame's publish to the receipt of its last answer, by stamp."""
    last: defaultdict[int, int] = defaultdict(int)
    for receipt in receipts:
        last[receipt["stamp_ns"]] = max(last[receipt["stamp_ns"]], receipt["receipt_ns"])
    published = {frame["stamp_ns"]: frame["publish_ns"] for frame in played}
    return {s: (last[s] - publish_ns) / 1e6 for s, publish_ns in published.items() if s in last}


def _describe(answers: Bag) -> dict[str, dict[str, Any]]:
    """Type, encoding, count and size of every recorded topic."""
    result: dict[str, dict[str, Any]] = {}
    for topic in answers.topics.values():
        entry = result[topic.name] = {"type": topic.type, "encoding": "", "count": topic.count}
        if topic.count:
            first = answers.decode(next(answers.messages([topic.name])))
            entry |= {"width": int(first.width), "height": int(first.height)}
            entry["encoding"] = getattr(first, "encoding", "")
    return result


def _by_stamp(bag: Bag, topics: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Decoded messages of one stamp by topic, once every topic has one."""
    parts: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    for message in bag.messages(topics):
        stamp = bag.stamp_ns(message) or 0
        parts[stamp][message.topic] = bag.decode(message)
        if len(parts[stamp]) == len(topics):
            yield stamp, parts.pop(stamp)


def _source_frames(source: Bag, image: str, info: str | None) -> Iterator[SourceFrame]:
    """Images of the played bag with the ground truth of the same stamp."""
    truths = [t for t in (ground_truth.LABELS, ground_truth.DISPARITY) if t in source.topics]
    first_info = next(source.messages([info]), None) if info else None
    focal = float(source.decode(first_info).k[0]) if first_info else 0.0
    for stamp, parts in _by_stamp(source, [image, *truths]):
        ids, disparity = parts.get(ground_truth.LABELS), parts.get(ground_truth.DISPARITY)
        labels = ground_truth.labels(ids) if ids else None
        depth = ground_truth.depth(disparity, focal, MAX_DEPTH) if disparity and focal else None
        yield SourceFrame(stamp, to_rgb(parts[image]), labels, depth)


def _perceptions(answers: Bag) -> Iterator[tuple[int, Perception]]:
    endings = {topic: "/".join(topic.split("/")[-2:]) for topic in answers.topics}
    fields = {topic: MAPS[ending] for topic, ending in endings.items() if ending in MAPS}
    for stamp, images in _by_stamp(answers, list(fields)):
        maps = {}
        for topic, image in images.items():
            dtype = np.uint8 if image.encoding == "mono8" else np.float32
            maps[fields[topic]] = image.data.view(dtype).reshape(image.height, image.width)
        yield stamp, Perception(**maps)


def _matched(
    frames: Iterator[SourceFrame], perceptions: Iterator[tuple[int, Perception]], results: Results
) -> Iterator[tuple[SourceFrame, Perception]]:
    """Pairs with the same stamp; in lock-step, answers come in the order of the frames."""
    played = set(results.stamps_in)
    waiting: dict[int, Perception] = {}
    for frame in (frame for frame in frames if frame.stamp_ns in played):
        while frame.stamp_ns not in waiting and (answer := next(perceptions, None)):
            waiting[answer[0]] = answer[1]
        if frame.stamp_ns in waiting:
            results.stamps_out.append(frame.stamp_ns)
            yield frame, waiting.pop(frame.stamp_ns)


def _evaluated(
    pairs: Iterator[tuple[SourceFrame, Perception]], results: Results, model: ModelInfo
) -> Iterator[np.ndarray]:
    every = max(len(results.stamps_in) // PICTURES, 1)
    for i, (frame, perception) in enumerate(pairs):
        if frame.labels is not None or frame.depth is not None:
            labels, depth, size = frame.labels, frame.depth, frame.rgb.shape[:2]
            if labels is None or not results.same_classes:
                labels = np.full(size, IGNORE, np.uint8)
            if depth is None:
                depth = np.full(size, np.nan, np.float32)
            score_frame(results.metrics, perception, labels, depth)
            results.evaluated += 1
        caption = (
            f"t = {(frame.stamp_ns - results.stamps_in[0]) / 1e9:.2f} s",
            f"latency {results.latency_ms.get(frame.stamp_ns, float('nan')):.0f} ms",
        )
        picture = panel(frame.rgb, perception, model.classes, caption)
        if i % every == every // 2 and len(results.pictures) < PICTURES:
            results.pictures.append(picture)
        yield picture


def _rate(stamps: list[int]) -> float:
    steps = np.diff(stamps)
    steps = steps[steps > 0]
    return float(np.clip(1e9 / np.median(steps), 1, 60)) if steps.size else 10.0
