"""Build diagnostic statuses: whether a part of the node works, and if not, why. Imports no ROS."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from emu_core.runtime.fastest import AUTO
from emu_perception.camera_model.metric_scale import Lens
from emu_perception.node import label_info
from emu_perception.node.statistics import DURATIONS, WINDOW_S, StatisticsSnapshot
from emu_perception.ros.dds import STOCK_SEGMENT, Transport

if TYPE_CHECKING:
    from emu_perception.node.subscription import AdaptiveSubscription

SILENCE_S = 3.0
"""Without an image for longer than this, something is wrong."""

OLD_MS = 1000.0
"""Outputs with a higher median age are too late for a moving robot."""

STALL_MS = 500.0
"""Large images probably stall in DDS if some take that much longer than most."""

_WINDOW = f"{WINDOW_S:.0f} s"


class Level(IntEnum):
    """Levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass
class Status:
    """Diagnostic status of one part of the node; `fine` is the message without a problem."""

    fine: str
    values: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[Level, str]] = field(default_factory=list)

    def add(self, level: Level, text: str) -> None:
        self.problems.append((level, text))

    @property
    def level(self) -> Level:
        """The level of the worst problem."""
        return max((level for level, _ in self.problems), default=Level.OK)

    @property
    def message(self) -> str:
        """All problems, the worst first, or `fine`."""
        worst_first = sorted(self.problems, key=lambda problem: -problem[0])
        return "; ".join(text for _, text in worst_first) or self.fine


def input_status(
    now: StatisticsSnapshot, images: AdaptiveSubscription, transport: Transport
) -> Status:
    """Check whether images arrive."""
    publishers, names = images.publishers(), _names(images)
    status = Status(
        f"{now.input_rate:.1f} Hz" if now.counts["in"] else "waiting for the first image",
        {
            "topic": images.topic,
            "publishers": names,
            "input rate": f"{now.input_rate:.2f} Hz",
            "seconds since the last image": f"{now.silence_s:.1f}",
            "bytes per image": str(now.image_bytes),
            f"images lost in {_WINDOW}": str(now.lost),
        },
    )
    unusable = [name for name, problem in publishers if problem]
    size = f"{now.image_bytes / 1e6:.1f} MB" if now.image_bytes else "unknown size"
    may_be_large = transport.may_lose and not 0 < now.image_bytes <= STOCK_SEGMENT
    advice = transport.advice()
    if now.silence_s > SILENCE_S:
        text = f"no image on {images.topic} for {now.silence_s:.0f} s; publishers: {names}"
        if hint := images.other_transport():
            text += f"; {hint}"
        usable = len(publishers) > len(unusable)
        if usable and may_be_large:
            text += f"; {advice}"
        status.add(Level.ERROR, text)
    elif unusable:
        status.add(Level.WARN, f"no messages from {', '.join(unusable)}")
    if now.lost:
        received = round(now.input_rate * min(now.active_s, WINDOW_S))
        reason = advice if may_be_large else "the network or this machine is overloaded"
        images_of = f"{now.lost + received} images of {size}"
        status.add(Level.WARN, f"{now.lost} of {images_of} were lost in transport: {reason}")
    delay_ms = _largest_delay_ms(now)
    if may_be_large and delay_ms > STALL_MS:
        delay = f"images of {size} arrive up to {delay_ms / 1e3:.1f} s late"
        status.add(Level.WARN, f"{delay}: {advice}")
    return status


def _names(subscription: AdaptiveSubscription) -> str:
    return ", ".join(name for name, _ in subscription.publishers()) or "none"


def _largest_delay_ms(now: StatisticsSnapshot) -> float:
    """Transport delay of the slowest images minus the median, ms; 0 if unknown."""
    if not {"age", "latency"} <= now.durations_ms.keys():
        return 0.0
    (age_p50, age_p99), (p50, p99) = now.durations_ms["age"], now.durations_ms["latency"]
    return (age_p99 - p99) - (age_p50 - p50)


def output_status(now: StatisticsSnapshot, output_bytes: int, transport: Transport) -> Status:
    """Check whether outputs are published, and in time.

    Args:
        output_bytes: size of the largest output.
        transport: of this process.
    """
    p50 = {name: pair[0] for name, pair in now.durations_ms.items()}
    fine = [f"{now.output_rate:.1f} Hz"]
    fine += [f"{name} {p50[name]:.0f} ms" for name in ("inference", "age") if name in p50]
    if now.recent["no_subscriber"] and not now.recent["processed"]:
        fine = ["no output has a subscriber: nothing is computed"]
    status = Status(", ".join(fine), {"output rate": f"{now.output_rate:.2f} Hz"})
    status.values["transport"] = str(transport)
    for name in DURATIONS:
        pair = now.durations_ms.get(name)
        for position, label in enumerate(("p50", "p99")):
            text = f"{pair[position]:.1f} ms" if pair else "unknown"
            status.values[f"{name} {label}"] = text
    status.values |= {f"images {kind}": str(count) for kind, count in now.counts.items()}
    status.values["last error"] = now.last_error or "none"
    if now.last_error_age_s is not None:
        status.values["seconds since the last error"] = f"{now.last_error_age_s:.0f}"
    dropped = now.recent["dropped"] if now.active_s > WINDOW_S else 0
    finished = ("processed", "refused", "failed", "no_subscriber")
    if dropped and not any(now.recent[outcome] for outcome in finished):
        text = f"no image was finished in {_WINDOW}, and {dropped} were dropped"
        status.add(Level.ERROR, f"{text}: the inference hangs")
    for outcome in ("failed", "refused"):
        if count := now.recent[outcome]:
            level = Level.WARN if now.recent["processed"] else Level.ERROR
            status.add(level, f"{count} images {outcome} in {_WINDOW}: {now.last_error}")
    if now.age_problem:
        status.add(Level.WARN, f"age unknown: {now.age_problem}")
    if p50.get("age", 0.0) > OLD_MS:
        text = f"outputs are {p50['age'] / 1e3:.1f} s old, of which this node takes "
        status.add(Level.WARN, f"{text}{p50['latency'] / 1e3:.1f} s")
    problem = transport.problem(output_bytes)
    if problem and now.recent["processed"]:
        text = f"outputs of up to {output_bytes / 1e6:.1f} MB may be delayed"
        status.add(Level.WARN, f"{text}: {problem}")
    return status


def scale_status(lens: Lens, infos: AdaptiveSubscription, doubt: str = "") -> Status:
    """Check whether depth is in metres.

    Args:
        infos: the subscription to camera_info.
        doubt: why camera_info may be misread; empty if there is no reason.
    """
    scale, names = lens.scale, _names(infos)
    status = Status(scale.text, {"state": scale.state, "topic": infos.topic, "publishers": names})
    if doubt:
        status.add(Level.WARN, doubt)
    if lens.no_points:
        status.add(Level.WARN, lens.no_points)
    if scale.state == "unverified":
        text = f"{scale.text}; no points without it; publishers of {infos.topic}: {names}"
        status.add(Level.WARN, text)
    elif scale.state == "out of view":
        status.add(Level.ERROR, scale.text)
    return status


def labels_status(has_labels: bool = True) -> Status:
    """Check whether the names of the classes are published, if the model has classes."""
    if not has_labels:
        return Status("the model has no classes, so label_info is not published")
    status = Status("label_info is published")
    if label_info.messages() is None:
        status.add(Level.ERROR, label_info.MISSING)
    return status


def state_status(state: str, problem: str, memory_bytes: int) -> Status:
    """Check the lifecycle; `problem` is why the last transition failed, or empty."""
    memory = f"{memory_bytes / 1e6:.0f} MB"
    status = Status(state, {"state": state, "memory": memory, "last problem": problem})
    if problem:
        status.add(Level.ERROR, problem)
    return status


def model_status(
    requested: str, provider: str, values: dict[str, str], missing: str = ""
) -> Status:
    """Check whether the model runs on the requested provider.

    Args:
        values: what describes the model.
        missing: what the model cannot fill, as a phrase.
    """
    fine = "; ".join(filter(None, (f"{values['model']} on {provider}", missing)))
    status = Status(fine, {**values, "provider": provider})
    if requested not in (provider, AUTO):
        text = f"the provider {requested} is not available: running on {provider}"
        status.add(Level.ERROR, text)
    return status
