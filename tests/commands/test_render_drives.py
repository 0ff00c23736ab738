"""The command `training/render_drives.py`, as a user runs it."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from emu_core.drives.drive import DriveSpec, draw

pytest.importorskip("rich", reason="the command shows its progress with rich: pip install rich")

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "training" / "render_drives.py"
SIZE = (128, 64)
CONFIG = """
width: 128
height: 64
splits:
  val: {seeds: [31, 32], frames: 2, interval: 0.5}
  long: {seeds: [40, 49], frames: 40, interval: 0.5}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "drives.yaml"
    path.write_text(CONFIG)
    return path


def command(*args):
    return [sys.executable, str(SCRIPT), *map(str, args)]


def run(*args, **environment):
    options = {"env": {**os.environ, **environment}, "capture_output": True, "text": True}
    return subprocess.run(command(*args), timeout=120, check=False, **options)


def test_help_lists_the_commands_and_options():
    done = run("--help")
    assert done.returncode == 0
    for text in ("--splits train val", "--jobs", "--prior", "--config", "libegl1"):
        assert text in done.stdout


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--splits", "val", "vall"), 2, "no split vall in"),
        (("--splits", "vall"), 2, "it has val, long"),
        (("--jobs", "0"), 2, '"jobs"'),
        (("--config", "none.yaml"), 1, "render_drives: Cannot read none.yaml"),
        (("--prior",), 1, "render_drives: No folder"),
    ],
)
def test_user_errors_are_reported_without_a_traceback(config, tmp_path, options, status, message):
    done = run("--config", config, "--output", tmp_path / "out", *options)
    assert done.returncode == status
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture
def fail(config, tmp_path):
    """Function that renders with an environment; expects an error and returns the message."""

    def call(output="out", **environment):
        options = ("--config", config, "--splits", "val", "--output", tmp_path / output)
        done = run(*options, **environment)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        return done.stderr

    return call


def test_without_mujoco_the_message_says_what_to_install(fail, tmp_path):
    (tmp_path / "mujoco.py").write_text("raise ModuleNotFoundError('gone', name='mujoco')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    message = fail(PYTHONPATH=path)
    assert "render_drives: Rendering drives needs MuJoCo" in message
    assert "pip install mujoco" in message


@pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs mujoco")
@pytest.mark.skipif(sys.platform != "linux", reason="EGL exists only on Linux")
def test_without_opengl_the_message_says_what_to_install(fail, tmp_path):
    message = fail(MUJOCO_GL="egl", __EGL_VENDOR_LIBRARY_DIRS=str(tmp_path))
    assert "apt-get install libegl1 libgl1-mesa-dri" in message


def test_an_output_that_cannot_be_written_is_named(renderer, fail, tmp_path):
    (tmp_path / "file").write_text("no folder")
    assert "render_drives: Cannot write" in fail("file/out")


def test_an_interrupted_rendering_continues_with_the_same_frames(renderer, config, tmp_path):
    out = tmp_path / "out"
    args = ("--config", config, "--splits", "val", "--output", out, "--jobs", "2")
    first = run(*args, "--drives", "1", "--frames", "1")
    assert first.returncode == 0, first.stderr
    assert "1 drives, 1 frames rendered" in first.stdout
    images = sorted(out.glob("leftImg8bit/*/*/*.png"))
    assert [path.name for path in images] == ["val31_000000_000000_leftImg8bit.png"]
    stamp = images[0].stat().st_mtime_ns

    second = run(*args)
    assert second.returncode == 0, second.stderr
    assert "2 drives, 3 frames rendered" in second.stdout
    assert "val: 4 frames, " in second.stdout and "of 19 classes" in second.stdout
    assert images[0].stat().st_mtime_ns == stamp

    with renderer(draw(DriveSpec("val", 32, 2, 0.5, width=SIZE[0], height=SIZE[1]))) as scene:
        frame = scene.frame(0.5, np.random.default_rng([32, 1]))
    path = out / "leftImg8bit/val/val32/val32_000000_000001_leftImg8bit.png"
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], frame.image)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_command_and_keeps_finished_frames(renderer, config, tmp_path, number):
    args = command("--config", config, "--splits", "long", "--output", tmp_path, "--jobs", "1")
    process = subprocess.Popen(
        args,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Background processes of a shell ignore Ctrl-C, and so do their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("camera/*/*/*.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    frames = len(list(tmp_path.glob("camera/*/*/*.json")))
    assert 1 <= frames < 400
