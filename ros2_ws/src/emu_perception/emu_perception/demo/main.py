"""Replay a drive through the real node over real DDS, and report what came out.

    python -m emu_perception.demo --bag demo/drive --output out/demo

Player, node and recorder run as three processes, in lock-step: the next frame goes out when the
node has answered the last. Leaves in the output folder: bag/ (rosbag2, mcap), overlay.mp4,
report.html, summary.json and logs/. Metrics need the bag's ground truth (`bags.ground_truth`).

Exit codes: 0 every frame was answered, 1 a mistake or a failure, told in one line.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from emu_perception.errors import UserError
from emu_perception.ros import dds
from emu_perception.ros.command_line import count, run, seconds

NODE = "/emu_perception"
ANSWERS = tuple(
    f"{NODE}/{topic}"
    for topic in ("semantic/image", "semantic/confidence", "semantic/uncertainty",
                  "depth/image", "depth/uncertainty", "depth/camera_info")
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    return run("demo", lambda: _demo(options))


def _demo(options: argparse.Namespace) -> int:
    from emu_core.bags.reader import open_bag
    from emu_core.runtime.model_file import ModelError, default_model, read_info
    from emu_perception.demo.report import summarize, write_report, write_summary
    from emu_perception.demo.results import collect

    try:
        model = read_info(options.model or default_model())
    except ModelError as error:
        raise UserError(str(error)) from error
    output: Path = options.output
    _clear(output)
    with open_bag(options.bag) as bag:
        image = bag.image_topic()
        infos = [t.name for t in bag.topics.values() if t.type == "sensor_msgs/msg/CameraInfo"]
        total = min(bag.topics[image].count, options.frames or sys.maxsize)
    print(f"demo: {total} frames of {options.bag} through {model.name} ({model.path.name})")
    processes = Processes(output / "logs")
    start = time.monotonic()
    try:
        processes.replay(options, image, infos[0] if infos else "", str(model.path))
    finally:
        processes.stop()
    print(f"demo: replayed in {time.monotonic() - start:.1f} s, evaluating")
    results = collect(options.bag, output, image, infos[0] if infos else "", model)
    summary = summarize(results, model, options.provider, processes.dropped())
    write_summary(output / "summary.json", summary)
    write_report(output / "report.html", summary, results, model)
    width = max(map(len, summary))
    for key, value in summary.items():
        if not isinstance(value, dict):
            print(f"  {key:{width}}  {value:.4f}" if isinstance(value, float) else
                  f"  {key:{width}}  {value}")  # fmt: skip
    print(f"demo: look at {output / 'report.html'} and {output / 'overlay.mp4'}")
    if summary["frames_out"] < summary["frames_in"]:
        raise UserError(
            f"{summary['frames_in'] - summary['frames_out']} of {summary['frames_in']} frames "
            f"were not answered; see {output / 'logs'}"
        )
    return 0


class Processes:
    """The three processes of the demo, their logs and their end."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True)
        self._logs = logs
        self._running: dict[str, subprocess.Popen] = {}
        self._environment = _environment()
        self._told = ""

    def replay(self, options: argparse.Namespace, image: str, info: str, model: str) -> None:
        """Run node, recorder and player until the last frame is answered.

        Raises
        ------
        UserError
            One of them failed; the message has its last words.
        """
        raw = image.removesuffix("/compressed")
        transport = "compressed" if raw != image else "raw"
        remaps = ["-r", f"image:={raw}", *(["-r", f"camera_info:={info}"] if info else [])]
        parameters = {"model": model, "provider": options.provider, "image_transport": transport}
        values = [a for k, v in parameters.items() for a in ("-p", f"{k}:={v}")]
        self._start("node", "emu_perception.node", ["--ros-args", *remaps, *values])
        answers = ANSWERS if info else tuple(a for a in ANSWERS if not a.endswith("/camera_info"))
        self._start(
            "recorder",
            "emu_perception.recorder",
            ["--output", options.output / "bag", "--report", self._logs / "recorder.json",
             "--topics", *answers],
        )  # fmt: skip
        limit = ["--frames", options.frames] if options.frames else []
        self._await(lambda: "recording" in self._text("recorder"), "recorder", 60)
        self._start(
            "player",
            "emu_perception.player",
            [options.bag, "--lock-step", *answers, "--timeout", options.timeout,
             "--image", image, "--report", self._logs / "player.json", *limit],
        )  # fmt: skip
        self._await(lambda: self._running["player"].poll() is not None, "player", None)
        if self._running["player"].returncode not in (0, 3):  # 3: some frames unanswered
            raise UserError(f"the player failed: {self._last_words('player')}")

    def stop(self) -> None:
        """End what still runs: SIGINT first, SIGKILL last."""
        for name in ("player", "recorder", "node"):
            process = self._running.get(name)
            if process is None or process.poll() is not None:
                continue
            for number, patience_s in (
                (signal.SIGINT, 20),
                (signal.SIGTERM, 5),
                (signal.SIGKILL, 5),
            ):
                process.send_signal(number)
                try:
                    process.wait(patience_s)
                    break
                except subprocess.TimeoutExpired:
                    continue

    def dropped(self) -> int | None:
        """Frames that the node's mailbox dropped, by its last log line."""
        found = re.findall(r"frames: .*?(\d+) dropped", self._text("node"))
        return int(found[-1]) if found else None

    def _start(self, name: str, module: str, arguments: Sequence[object]) -> None:
        with (self._logs / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )

    def _await(self, condition, name: str, patience_s: float | None) -> None:
        """Wait for a condition while every process lives."""
        start = time.monotonic()
        while not condition():
            for other, process in self._running.items():
                if process.poll() is not None and other != "player":
                    raise UserError(f"the {other} ended: {self._last_words(other)}")
            if name != "player" and self._running[name].poll() is not None:
                raise UserError(f"the {name} ended: {self._last_words(name)}")
            self._tell_progress(name)
            if patience_s is not None and time.monotonic() - start > patience_s:
                raise UserError(
                    f"the {name} is not ready after {patience_s:g} s; see {self._logs}"
                )
            time.sleep(0.1)

    def _tell_progress(self, name: str) -> None:
        """Pass on the player's own progress lines."""
        if name == "player" and (words := self._last_words(name)) != self._told:
            self._told = words
            if "frames," in words:
                print(f"demo: {words}", flush=True)

    def _text(self, name: str) -> str:
        path = self._logs / f"{name}.log"
        return path.read_text(errors="replace") if path.is_file() else ""

    def _last_words(self, name: str) -> str:
        lines = self._text(name).strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _environment() -> dict[str, str]:
    """Of the child processes: our DDS profile, this machine only, a domain of their own."""
    from emu_perception.ros.distro import localhost_only

    environment = {**os.environ, **localhost_only(), "PYTHONUNBUFFERED": "1"}
    environment.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    return {**environment, **dds.environment(environment)}


def _clear(output: Path) -> None:
    """Remove an earlier demo's results, and nothing else."""
    for name in ("bag", "logs"):
        shutil.rmtree(output / name, ignore_errors=True)
    for name in ("overlay.mp4", "report.html", "summary.json"):
        (output / name).unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bag", type=Path, default=Path("demo/drive"), help="rosbag2 to replay")
    parser.add_argument("--output", type=Path, default=Path("out/demo"), help="folder to fill")
    parser.add_argument("--model", type=Path, help="model file (default: the shipped one)")
    parser.add_argument("--provider", default="cpu", help="what inference runs on (cpu)")
    parser.add_argument("--frames", type=count, metavar="N", help="only the first N frames")
    parser.add_argument("--timeout", type=seconds, default=30.0, metavar="S",
                        help="seconds after which a frame counts as unanswered (30)")  # fmt: skip
    return parser
