"""The command `training/render_drives.py`, as its user runs it."""

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
    return subprocess.run(
        command(*args), capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_help_lists_the_commands_and_options():
    done = run("--help")
    assert done.returncode == 0
    for text in ("--splits train val", "--jobs", "--prior", "--config", "libegl1"):
        assert text in done.stdout


def test_an_unknown_split_is_named_beside_those_that_exist(config, tmp_path):
    done = run("--config", config, "--splits", "val", "vall", "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "no split vall in" in done.stderr and "it has val, long" in done.stderr
    assert not (tmp_path / "out").exists()


def test_numbers_below_one_are_refused():
    done = run("--jobs", "0")
    assert done.returncode == 2
    assert "--jobs" in done.stderr and "'0'" in done.stderr


def test_a_missing_configuration_is_one_line(tmp_path):
    done = run("--config", tmp_path / "none.yaml")
    assert done.returncode == 1
    assert done.stderr.startswith("render_drives: Cannot read") and done.stderr.count("\n") == 1


def test_a_prior_without_data_says_which_folder_is_missing(config, tmp_path):
    done = run("--config", config, "--prior", "--output", tmp_path)
    assert done.returncode == 1
    assert "render_drives: No folder" in done.stderr and "Traceback" not in done.stderr


def test_without_mujoco_it_says_what_to_install(config, tmp_path):
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "mujoco.py").write_text("raise ModuleNotFoundError('gone', name='mujoco')\n")
    done = run("--config", config, "--splits", "val", "--output", tmp_path / "out",
               PYTHONPATH=str(fake))  # fmt: skip
    assert done.returncode == 1
    assert "render_drives: Rendering drives needs MuJoCo" in done.stderr
    assert "pip install mujoco" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs mujoco")
@pytest.mark.skipif(sys.platform != "linux", reason="EGL is Linux's")
def test_without_opengl_it_says_what_to_install(config, tmp_path):
    nothing = tmp_path / "no_vendors"
    nothing.mkdir()
    done = run("--config", config, "--splits", "val", "--output", tmp_path / "out",
               MUJOCO_GL="egl", __EGL_VENDOR_LIBRARY_DIRS=str(nothing))  # fmt: skip
    assert done.returncode == 1
    assert "apt-get install libegl1 libgl1-mesa-dri" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_that_cannot_be_written_is_named(renderer, config, tmp_path):
    (tmp_path / "file").write_text("no folder")
    done = run("--config", config, "--splits", "val", "--output", tmp_path / "file" / "out")
    assert done.returncode == 1
    assert "render_drives: Cannot write" in done.stderr and "Traceback" not in done.stderr


def test_it_renders_goes_on_where_it_stopped_and_equals_another_process(
    renderer, config, tmp_path
):
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
    path = out / "leftImg8bit" / "val" / "val32" / "val32_000000_000001_leftImg8bit.png"
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], frame.image)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_with_finished_frames_on_disk(renderer, config, tmp_path, number):
    args = command("--config", config, "--splits", "long", "--output", tmp_path, "--jobs", "1")
    process = subprocess.Popen(
        args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell that starts pytest in the background lets its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
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
