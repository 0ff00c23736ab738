"""Replay a drive through the real node over real DDS, and score the outputs.

    python -m emu_perception.demo --bag demo/drive --output out/demo

Player, node and recorder run as three processes in lock-step: the player sends the next frame when
the node has answered the last one. The output folder receives bag/ (rosbag2, mcap), overlay.mp4,
report.html, summary.json and logs/. Metrics need ground truth in the bag (`bags.ground_truth`).

Exit codes: 0 every frame was answered, 1 user error or failure (one line on stderr).
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
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from emu_core.terminal import signals_deferred
from emu_perception.errors import UserError
from emu_perception.ros import dds
from emu_perception.ros.command_line import absolute, argument_parser, count, run, seconds

NODE = "/emu_perception"
CAMERA_INFO = f"{NODE}/depth/camera_info"
CONFIDENCE = f"{NODE}/semantic/confidence"
_READY_TIMEOUT_S = 60.0
_LAST_ANSWERS_S = (
    10.0  # Fast DDS sends a message again that was lost in transport, after up to 3 s
)
_UNANSWERED = 3  # the player's exit code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run("demo", lambda: _demo(_parser().parse_args(arguments)))


def _demo(options: argparse.Namespace) -> int:
    from emu_core.bags.reader import open_bag
    from emu_core.files import write_json
    from emu_core.runtime.model_file import ModelError, default_model, read_info
    from emu_perception.bag_tools.topics import name_problem
    from emu_perception.demo.report import summarize, write_report
    from emu_perception.demo.results import MAPS, collect

    try:
        model = read_info(options.model or default_model())
    except ModelError as error:
        raise UserError(str(error)) from error
    output: Path = options.output
    _clear(output)
    with open_bag(options.bag) as bag:
        image = bag.image_topic()
        if problem := name_problem(absolute(image)):
            raise UserError(f"{options.bag}: the image topic {image} cannot be played: {problem}")
        if bag.left_out:
            print(f"demo: not read from {options.bag}: {bag.not_read()}")
        infos = [t.name for t in bag.topics.values() if t.type == "sensor_msgs/msg/CameraInfo"]
        infos = [name for name in infos if not name_problem(absolute(name))]
        total = min(bag.topics[image].count, options.frames or sys.maxsize)
    info = infos[0] if infos else None
    print(f"demo: replaying {total} frames of {options.bag} with {model.name} ({model.path.name})")
    answers = [f"{NODE}/{topic}" for topic, name in MAPS.items() if name in model.outputs]
    answers += [CONFIDENCE] if "labels" in model.outputs else []
    answers += [CAMERA_INFO] if info and "depth" in model.outputs else []
    processes = Processes(output / "logs")
    start = time.monotonic()
    try:
        processes.replay(options, total, image, info, model.path, answers)
    finally:
        processes.stop()
    print(f"demo: replayed in {time.monotonic() - start:.1f} s; computing the metrics")
    results = collect(options.bag, output, image, info, model)
    summary = summarize(results, model, options.provider, processes.dropped())
    write_json(output / "summary.json", summary)
    write_report(output / "report.html", summary, results, model)
    known = {k: v for k, v in summary.items() if v is not None and not isinstance(v, dict)}
    width = max(map(len, known))
    for key, value in known.items():
        text = f"{value:.4f}" if isinstance(value, float) else value
        print(f"  {key:{width}}  {text}")
    if not results.evaluated:
        print(f"demo: {options.bag} has no ground truth: there are no metrics")
    print(f"demo: see {output / 'report.html'} and {output / 'overlay.mp4'}")
    frames = summary["frames_in"]
    if (unanswered := frames - summary["frames_out"]) > 0:
        logs = output / "logs"
        raise UserError(f"{unanswered} of {frames} frames were not answered; see {logs}")
    return 0


class Processes:
    """Node, recorder and player as child processes with log files in the new folder `logs`."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True)
        self._logs = logs
        self._running: dict[str, subprocess.Popen] = {}
        self._progress = ""

    def replay(
        self,
        options: argparse.Namespace,
        total: int,
        image: str,
        info: str | None,
        model: Path,
        answers: Sequence[str],
    ) -> None:
        """Run the processes until the last of `total` frames is answered on all topics `answers`.

        Raises:
            UserError: A process failed; the message contains its last line.
        """
        raw = absolute(image.removesuffix("/compressed"))
        transport = "compressed" if image.endswith("/compressed") else "raw"
        arguments: list[object] = ["--ros-args", "-r", f"image:={raw}", "-p", f"model:={model}"]
        arguments += ["-p", f"provider:={options.provider}", "-p", f"image_transport:={transport}"]
        arguments += ["-r", f"camera_info:={absolute(info)}"] if info else []
        self._start("node", *arguments)
        report = self._logs / "recorder.json"
        bag = options.output / "bag"
        arguments = ["--output", bag, "--report", report, "--max-frames", total]
        recorder = self._start("recorder", *arguments, "--topics", *answers)
        self._wait_for("recorder", lambda: "recording" in self._log("recorder"), _READY_TIMEOUT_S)
        arguments = ["--image", image, "--timeout", options.timeout]
        arguments += ["--report", self._logs / "player.json", "--lock-step", *answers]
        arguments += ["--frames", options.frames] if options.frames else []
        player = self._start("player", options.bag, *arguments)
        self._wait_for("player", lambda: player.poll() is not None)
        if player.returncode not in (0, _UNANSWERED):
            raise UserError(f"the player failed: {self._last_line('player')}")
        with suppress(subprocess.TimeoutExpired):  # it ends when it has all answers
            recorder.wait(_LAST_ANSWERS_S)

    def stop(self) -> None:
        """Stop the processes that still run: SIGINT, then SIGTERM, then SIGKILL."""
        patience_s = {signal.SIGINT: 20, signal.SIGTERM: 5, signal.SIGKILL: 5}
        for name in ("player", "recorder", "node"):
            process = self._running.get(name)
            for number, timeout_s in patience_s.items():
                if process is None or process.poll() is not None:
                    break
                process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout_s)

    def dropped(self) -> int | None:
        """Frames that the node dropped, from its last log line; None if unknown."""
        found = re.findall(r"frames: .*?(\d+) dropped", self._log("node"))
        return int(found[-1]) if found else None

    def _start(self, name: str, *arguments: object) -> subprocess.Popen:
        with (self._logs / f"{name}.log").open("wb") as log, signals_deferred():
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", f"emu_perception.{name}", *map(str, arguments)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
            )
        return self._running[name]

    def _wait_for(
        self, name: str, condition: Callable[[], bool], timeout_s: float = float("inf")
    ) -> None:
        start = time.monotonic()
        while not condition():
            for other in ("node", "recorder"):
                code = self._running[other].poll()
                if code is not None and (other, code) != ("recorder", 0):
                    raise UserError(f"the {other} ended: {self._last_line(other)}")
            line = self._last_line("player") if name == "player" else self._progress
            if line != self._progress and "frames," in line:
                print(f"demo: {line}", flush=True)
            self._progress = line
            if time.monotonic() - start > timeout_s:
                raise UserError(f"the {name} is not ready after {timeout_s:g} s; see {self._logs}")
            time.sleep(0.1)

    def _log(self, name: str) -> str:
        return (self._logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def _last_line(self, name: str) -> str:
        return (self._log(name).strip().splitlines() or ["it printed nothing"])[-1]


def _environment() -> dict[str, str]:
    """Environment of the processes: our DDS profile, only this machine, a separate ROS domain."""
    from emu_perception.ros.distro import localhost_only

    environment = {**os.environ, **localhost_only(), "PYTHONUNBUFFERED": "1"}
    environment.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    return {**environment, **dds.environment(environment)}


def _clear(output: Path) -> None:
    """Remove the results of an earlier demo, and nothing else."""
    for name in ("bag", "logs"):
        shutil.rmtree(output / name, ignore_errors=True)
    for name in ("overlay.mp4", "report.html", "summary.json"):
        (output / name).unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = argument_parser("demo", __doc__)
    add = parser.add_argument
    add("--bag", type=Path, default=Path("demo/drive"), help="bag to replay (%(default)s)")
    add("--output", type=Path, default=Path("out/demo"), help="output folder (%(default)s)")
    add("--model", type=Path, help="model file (the one that comes with emu_core)")
    add("--provider", default="cpu", help="execution provider of the inference (%(default)s)")
    add("--frames", type=count, metavar="N", help="replay only the first N frames")
    timeout = "seconds after which a frame counts as unanswered (30)"
    add("--timeout", type=seconds, default=30.0, metavar="S", help=timeout)
    return parser
