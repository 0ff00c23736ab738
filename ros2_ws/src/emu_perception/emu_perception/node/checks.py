"""From numbers to words: whether a part of the node is well, and if not, why. Imports no ROS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from emu_perception.camera_model.metric_scale import Scale
from emu_perception.node import label_info
from emu_perception.node.statistics import FINISHED, WINDOW_S, Report
from emu_perception.ros.dds import STOCK_SEGMENT

SILENCE_S = 3.0
"""Without an image for so long, something is wrong."""

OLD_MS = 1000.0
"""Answers whose median age is above are late for a robot that moves."""

STALL_MS = 500.0
"""Large images of which some come so much later than most probably stall between processes."""

_SCALES = {"verified": 0, "unknown": 0, "unverified": 1, "out of view": 2}


class Level(IntEnum):
    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Verdict:
    """How one part fares: a level, the reason in words, and numbers by name."""

    level: Level
    message: str
    values: dict[str, str] = field(default_factory=dict)


class Sender(Protocol):
    """Who publishes a camera's topic; see `source.Sender`."""

    @property
    def obstacle(self) -> str: ...


Finding = tuple[Level, str]


def judge(findings: Sequence[Finding], fine: str, values: dict[str, str]) -> Verdict:
    """The worst of the findings decides, and is told first; `fine` is said without any."""
    ordered = sorted(findings, key=lambda finding: -finding[0])
    if not ordered:
        return Verdict(Level.OK, fine, values)
    return Verdict(ordered[0][0], "; ".join(text for _, text in ordered), values)


def of_input(
    report: Report, topic: str, senders: Sequence[Sender], fast_dds: bool, profile: Path
) -> Verdict:
    """Do images come? `fast_dds`: it is the middleware; `profile`: of ours, for its users."""
    findings: list[Finding] = []
    advice = (
        "images above Fast DDS's shared-memory segment of 512 KB get lost or stall unless their "
        f"sender, the camera driver, runs with FASTRTPS_DEFAULT_PROFILES_FILE={profile}"
    )
    obstacles = [sender for sender in senders if sender.obstacle]
    large = fast_dds and report.image_bytes > STOCK_SEGMENT
    if report.silence_s > SILENCE_S:
        there = ", ".join(map(str, senders)) or "none"
        text = f"no image on {topic} for {report.silence_s:.0f} s; publishers there: {there}"
        helpless = fast_dds and len(senders) > len(obstacles)
        if helpless and (large or not report.counts["in"]):
            text += f". Raw {advice}"
        findings.append((Level.ERROR, text))
    elif obstacles:
        findings.append((Level.WARN, f"nothing comes from {', '.join(map(str, obstacles))}"))
    if report.lost:
        came = round(report.input_rate * min(report.active_s, WINDOW_S))
        text = f"{report.lost} of {report.lost + came} images were lost on their way"
        if large:
            text += f": they take {report.image_bytes / 1e6:.1f} MB, and {advice}"
        else:
            text += ": the network or this machine is overloaded"
        findings.append((Level.WARN, text))
    late_ms = _delay_ms(report)
    if large and late_ms > STALL_MS:
        text = (
            f"images of {report.image_bytes / 1e6:.1f} MB come up to {late_ms / 1e3:.1f} s late: "
        )
        findings.append((Level.WARN, text + advice))
    fine = f"{report.input_rate:.1f} Hz" if report.counts["in"] else "waiting for the first image"
    return judge(
        findings,
        fine,
        {
            "topic": topic,
            "publishers": ", ".join(map(str, senders)) or "none",
            "input rate": f"{report.input_rate:.2f} Hz",
            "seconds since the last image": f"{report.silence_s:.1f}",
            "bytes per image": str(report.image_bytes),
            f"lost by the middleware in {WINDOW_S:.0f} s": str(report.lost),
        },
    )


def of_answers(report: Report, answer_bytes: int, segment: int, fast_dds: bool) -> Verdict:
    """Do answers go out, and in time? `segment`: bytes of the shared memory they pass through."""
    findings: list[Finding] = []
    recent = report.recent
    if report.active_s > WINDOW_S and recent["dropped"] and not any(recent[o] for o in FINISHED):
        text = (
            f"no image was finished in {WINDOW_S:.0f} s, and {recent['dropped']} were dropped "
            "meanwhile: an inference hangs, or takes as long"
        )
        findings.append((Level.ERROR, text))
    for outcome in ("failed", "refused"):
        if recent[outcome]:
            level = Level.WARN if recent["answered"] else Level.ERROR
            text = f"{recent[outcome]} images {outcome} in {WINDOW_S:.0f} s: {report.last_error}"
            findings.append((level, text))
    if report.age_doubt:
        findings.append((Level.WARN, f"age unknown: {report.age_doubt}"))
    if report.age_ms and report.age_ms[0] > OLD_MS:
        text = f"answers are {report.age_ms[0] / 1e3:.1f} s old"
        if report.latency_ms:
            text += f", of which this node takes {report.latency_ms[0] / 1e3:.1f} s"
        findings.append((Level.WARN, text))
    if fast_dds and recent["answered"] and segment < answer_bytes:
        text = (
            f"answers of up to {answer_bytes / 1e6:.1f} MB do not fit the shared-memory segment "
            f"of {segment / 1e6:.1f} MB that FASTRTPS_DEFAULT_PROFILES_FILE gives: they may stall"
        )
        findings.append((Level.WARN, text))
    return judge(findings, _fine_answers(report), _answer_values(report))


def of_scale(scale: Scale, topic: str, senders: Sequence[Sender], blind: str = "") -> Verdict:
    """Is depth in metres? `senders` of camera_info, on `topic`; `blind`: why there is no cloud."""
    there = ", ".join(map(str, senders)) or "none"
    text = scale.text
    if scale.state == "unverified":
        text += f". No depth/camera_info and no points without it; publishers of {topic}: {there}"
    values = {"state": scale.state, "topic": topic, "publishers": there}
    level = Level(_SCALES[scale.state])
    if blind:
        return Verdict(max(level, Level.WARN), f"{blind}; {text}", values)
    return Verdict(level, text, values)


def of_labels() -> Verdict:
    """Are the classes told?"""
    if label_info.available():
        return Verdict(Level.OK, "label_info is published")
    return Verdict(Level.ERROR, label_info.MISSING)


def of_state(phase: str, problem: str, memory: int) -> Verdict:
    """Is the node at work? `problem` is why its last transition failed, if it did."""
    values = {"state": phase, "memory": f"{memory / 1e6:.0f} MB", "last problem": problem}
    return Verdict(Level.ERROR if problem else Level.OK, problem or phase, values)


def of_model(asked: str, provider: str, values: dict[str, str]) -> Verdict:
    """Does the model run where it was asked to?"""
    values = {**values, "provider": provider}
    if provider != asked:
        return Verdict(
            Level.ERROR, f"the provider {asked} cannot be had: running on {provider}", values
        )
    return Verdict(Level.OK, f"{values['model']} on {provider}", values)


def _delay_ms(report: Report) -> float:
    """How much longer than usual the slowest images took to get here; 0 if nobody knows."""
    if report.age_ms is None or report.latency_ms is None:
        return 0.0
    usual, slowest = (a - b for a, b in zip(report.age_ms, report.latency_ms, strict=True))
    return slowest - usual


def _fine_answers(report: Report) -> str:
    if report.recent["unheard"] and not report.recent["answered"]:
        return "nobody subscribes to an answer: nothing is computed"
    parts = [f"{report.output_rate:.1f} Hz"]
    for name, pair in (("inference", report.inference_ms), ("age", report.age_ms)):
        if pair:
            parts.append(f"{name} {pair[0]:.0f} ms")
    return ", ".join(parts)


def _answer_values(report: Report) -> dict[str, str]:
    values = {"output rate": f"{report.output_rate:.2f} Hz"}
    for name, pair in (
        ("age", report.age_ms),
        ("from receipt to answer", report.latency_ms),
        ("inference", report.inference_ms),
    ):
        for label, position in (("p50", 0), ("p99", 1)):
            values[f"{name} {label}"] = f"{pair[position]:.1f} ms" if pair else "unknown"
    values |= {f"images {kind}": str(count) for kind, count in report.counts.items()}
    values["last error"] = report.last_error or "none"
    if report.last_error_s is not None:
        values["seconds since the last error"] = f"{report.last_error_s:.0f}"
    return values
