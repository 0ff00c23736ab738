"""The demo from end to end: bag → player → node → recorder → metrics, with a known model."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from helpers.drive_bags import write_bag

from emu_core.bags.reader import open_bag
from emu_core.data.cityscapes import FrameFiles, encode_disparity, write_png
from emu_core.files import write_json
from emu_core.labels import CITYSCAPES, IGNORE, class_table
from emu_core.runtime.dummy_model import dummy_outputs, make_dummy_model

ROOT = Path(__file__).parents[5]
FRAMES, HEIGHT, WIDTH = 6, 64, 128
FOCAL, CANONICAL = 80.0, 100.0
IMAGE = "/camera/image_raw/compressed"


@pytest.fixture(scope="module")
def model(models):
    return make_dummy_model(models / "demo.onnx", (HEIGHT, WIDTH), canonical_focal=CANONICAL)


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Six frames: blocks of colour, labels that often equal the dummy's, a wall."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    for i in range(FRAMES):
        files = FrameFiles(root, "demo", f"demo1_000000_{i:06d}")
        small = rng.integers(0, 256, (4, 8, 3), np.uint8)
        image = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
        labels = image[..., 0] // 16 % len(CITYSCAPES)
        labels[:, : WIDTH // 4] = rng.integers(0, len(CITYSCAPES))
        ids = np.array(CITYSCAPES.dataset_ids, np.uint8)[labels]
        ids[:3] = 0  # unlabelled
        depth = np.full((HEIGHT, WIDTH), 5.0 + 10 * i)
        depth[-9:] = np.inf
        write_png(files.path("leftImg8bit"), image)
        write_png(files.path("gtFine"), ids)
        write_png(files.path("disparity"), encode_disparity(depth, FOCAL, 0.22))
        lens = {"fx": FOCAL, "fy": FOCAL, "u0": 63.5, "v0": 31.5}
        camera = {"extrinsic": {"baseline": 0.22}, "intrinsic": lens}
        write_json(files.path("camera"), camera)
    return root


@pytest.fixture(scope="module")
def bag(layout, tmp_path_factory):
    path = tmp_path_factory.mktemp("bags") / "drive"
    command = [sys.executable, ROOT / "training" / "make_demo_bag.py", "--root", layout]
    subprocess.run([*command, "--output", path], check=True, timeout=60, capture_output=True)
    return path


@pytest.fixture(scope="module")
def output(bag, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "demo"
    done = run_demo("--bag", bag, "--model", model, "--output", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def summary(output):
    return json.loads((output / "summary.json").read_text())


def run_demo(*arguments) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "ROS_DOMAIN_ID"}
    command = [sys.executable, "-m", "emu_perception.demo", *map(str, arguments)]
    return subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, timeout=120
    )


def test_every_frame_is_answered_and_matched_by_its_stamp(summary):
    assert summary["frames_in"] == summary["frames_out"] == summary["stamps_matched"] == FRAMES
    assert summary["dropped"] == 0
    latency = summary["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["max"]


def test_topics_are_described_as_they_were_recorded(summary):
    size = {"count": FRAMES, "width": WIDTH, "height": HEIGHT}
    image = {"type": "sensor_msgs/msg/Image", **size}
    info = {"type": "sensor_msgs/msg/CameraInfo", **size, "encoding": ""}
    assert summary["topics"] == {
        "/emu_perception/semantic/image": image | {"encoding": "mono8"},
        "/emu_perception/semantic/confidence": image | {"encoding": "mono8"},
        "/emu_perception/semantic/uncertainty": image | {"encoding": "32FC1"},
        "/emu_perception/depth/image": image | {"encoding": "32FC1"},
        "/emu_perception/depth/uncertainty": image | {"encoding": "32FC1"},
        "/emu_perception/depth/camera_info": info,
    }


def test_the_metrics_are_those_of_a_plain_computation(summary, bag, layout):
    maps, ids = [], []
    with open_bag(bag) as played:
        for i, message in enumerate(played.messages([IMAGE])):
            bgr = cv2.imdecode(played.decode(message).data, cv2.IMREAD_COLOR)
            maps.append(dummy_outputs(bgr[..., ::-1]))
            path = FrameFiles(layout, "demo", f"demo1_000000_{i:06d}").path("gtFine")
            ids.append(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    truth, labels = CITYSCAPES.to_train_ids(np.stack(ids)), np.stack([m["labels"] for m in maps])
    known = truth != IGNORE
    iou = [
        np.sum((labels == c) & (truth == c)) / np.sum(known & ((labels == c) | (truth == c)))
        for c in np.unique(truth[known])
    ]
    assert summary["miou"] == pytest.approx(np.mean(iou), abs=1e-4)
    uncertainty = np.stack([m["label_uncertainty"] for m in maps])[known]
    assert summary["label_error_auroc"] == pytest.approx(
        auroc(uncertainty, (labels != truth)[known]), abs=1e-4
    )
    # True depth is stored at half size: rows and columns 0, 2, 4, … of the image; the maps are
    # reduced to it by the pixels at the centres, 1, 3, 5, …
    metres = np.tile(5.0 + 10 * np.arange(FRAMES)[:, None, None], (HEIGHT, WIDTH))
    metres[:, -9:] = np.nan
    metres = metres[:, ::2, ::2]
    depth = np.stack([m["depth"] for m in maps])[:, 1::2, 1::2] * FOCAL / CANONICAL
    std = np.stack([m["depth_std"] for m in maps])[:, 1::2, 1::2] * FOCAL / CANONICAL
    valid = np.isfinite(metres)
    y, covered = metres[valid], np.isfinite(depth[valid])
    filled = np.where(covered, depth[valid], np.where(y > 40, 0.0, 80.0))
    with np.errstate(divide="ignore"):
        wrong = ~covered | (np.maximum(filled / y, y / filled) >= 1.25)
    limited = np.minimum(filled, 80.0)
    far = np.abs(limited - y) >= 1
    assert summary["depth_coverage"] == pytest.approx(covered.mean(), abs=1e-4)
    # 16-bit disparity rounds the truth: by 0.6 % at 55 m with this focal length.
    assert summary["depth_rmse_m"] == pytest.approx(np.sqrt(np.mean((limited - y) ** 2)), rel=0.01)
    assert summary["depth_abs_rel"] == pytest.approx(np.mean(np.abs(limited - y) / y), rel=0.01)
    assert summary["depth_delta1"] == pytest.approx(1 - wrong.mean(), abs=0.01)
    # A missing depth counts as an error that was not found, and as a false alarm.
    alarms = np.full(np.count_nonzero(~covered), np.inf)
    errors, far = (np.concatenate([x, np.zeros(alarms.size, bool)]) for x in (wrong, far))
    relative = std / np.where(np.isfinite(depth), depth, 1)
    for name, score, positive in (("ratio", relative, errors), ("metre", std, far)):
        scores = np.concatenate([np.where(covered, score[valid], 0), alarms])
        expected = pytest.approx(auroc(scores, positive), abs=0.01)
        assert summary[f"depth_{name}_error_auroc"] == expected


def auroc(scores: np.ndarray, errors: np.ndarray) -> float:
    """The share of (error, correct) pairs in which the error scores higher; ties count half."""
    correct = np.sort(scores[~errors])
    below = np.searchsorted(correct, scores[errors], "left")
    upto = np.searchsorted(correct, scores[errors], "right")
    return float(np.mean(below + upto) / 2 / correct.size)


def test_the_video_has_every_frame(output):
    with av.open(str(output / "overlay.mp4")) as video:
        stream = video.streams.video[0]
        assert float(stream.average_rate) == pytest.approx(10)
        assert sum(1 for _ in video.decode(stream)) == FRAMES


def test_the_report_is_self_contained(output, summary):
    page = (output / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 4
    assert not re.findall(r'(?:src|href)="https?:', page)
    assert f"{summary['miou']:.3f}" in page
    for name in CITYSCAPES.names:
        assert f"<td>{name}</td>" in page


def test_a_run_replaces_an_earlier_one_and_nothing_else(bag, model, tmp_path):
    (tmp_path / "bag").mkdir()
    (tmp_path / "summary.json").write_text("old")
    (tmp_path / "notes.txt").write_text("the user's own")
    done = run_demo("--bag", bag, "--model", model, "--output", tmp_path, "--frames", 2)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["frames_in"] == summary["frames_out"] == 2
    assert (tmp_path / "notes.txt").read_text() == "the user's own"


def test_the_classes_of_another_table_are_not_scored(bag, models, tmp_path):
    classes = class_table({"name": "own", "classes": ["ground", "tree"]}, "own.yaml")
    model = make_dummy_model(models / "own.onnx", (HEIGHT, WIDTH), classes=classes)
    done = run_demo("--bag", bag, "--model", model, "--output", tmp_path, "--frames", 2)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["miou"] is None and summary["depth_rmse_m"] > 0
    page = (tmp_path / "report.html").read_text()
    assert "The ground truth has other classes than the model: only depth is scored." in page


@pytest.mark.parametrize(
    ("outputs", "scored", "text"),
    [
        (("depth",), "depth_rmse_m", "The model has no classes."),
        (("labels", "label_uncertainty"), "miou", "<td>road</td>"),
    ],
)
def test_a_model_for_one_task_is_scored_on_this_task(bag, models, tmp_path, outputs, scored, text):
    path = models / f"{outputs[0]}.onnx"
    model = make_dummy_model(path, (HEIGHT, WIDTH), canonical_focal=CANONICAL, outputs=outputs)
    done = run_demo("--bag", bag, "--model", model, "--output", tmp_path, "--frames", 2)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["frames_out"] == 2 and summary[scored] >= 0
    assert ("miou" in summary) != ("depth_rmse_m" in summary)
    assert text in (tmp_path / "report.html").read_text()


def test_a_drive_without_camera_info_is_answered_without_one(model, tmp_path):
    drive = write_bag(tmp_path / "drive", frames=3, size=(48, 64))
    arguments = ("--bag", drive, "--model", model, "--output", tmp_path / "out", "--timeout", 10)
    done = run_demo(*arguments)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["frames_in"] == summary["frames_out"] == 3
    assert "/emu_perception/depth/camera_info" not in summary["topics"]
    assert "has no ground truth: there are no metrics" in done.stdout and "miou" not in done.stdout
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The bag has no ground truth." in page and "not measured" not in page


@pytest.mark.parametrize("missing", ["bag", "model"])
def test_an_unusable_bag_or_model_is_reported_in_one_line(missing, bag, model, tmp_path):
    given = {"bag": bag, "model": model, missing: tmp_path / "nothing"}
    done = run_demo("--bag", given["bag"], "--model", given["model"], "--output", tmp_path / "out")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert str(tmp_path / "nothing") in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_node_and_the_recorder_too(number, bag, model, tmp_path):
    output = tmp_path / "out"
    command = [sys.executable, "-m", "emu_perception.demo", "--output", output, "--bag", bag]
    process = subprocess.Popen(
        [*map(str, command), "--model", str(model)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Background processes of a shell ignore Ctrl-C, and so do their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    log, end = output / "logs" / "recorder.log", time.monotonic() + 60
    while not log.is_file() or "recording" not in log.read_text():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors == ("demo: interrupted\n" if number == signal.SIGINT else "")
    assert len(children) >= 2
    assert not [child for child in children if Path("/proc", child).exists()]
