"""`python -m emu_core.predict`: files, messages and exit codes."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emu_core.predict.command import main


@pytest.fixture
def run(tmp_path, model, monkeypatch):
    """Function that runs the command with the dummy model; results go to out/predict."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main([*map(str, arguments), "--model", str(model)])


OUT = Path("out/predict")


def test_a_folder_with_a_damaged_file_is_predicted_to_its_end(run, write_image, noise, capsys):
    deep = noise.astype(np.uint16) * 257
    for name, rgb in {"a.png": noise, "a.bmp": noise[::-1], "deep.png": deep}.items():
        write_image(Path("photos") / name, rgb)
    Path("photos/broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    Path("photos/.hidden.png").write_bytes(b"no picture")
    assert run("photos", "--fov", 70) == 1
    output, errors = capsys.readouterr()
    results = {path.name: np.load(path / "depth.npy") for path in OUT.iterdir() if path.is_dir()}
    assert set(results) == {"a.png", "a.bmp", "deep.png"}
    np.testing.assert_array_equal(results["deep.png"], results["a.png"])  # 16 bits / 257
    np.testing.assert_array_equal(results["a.bmp"], results["a.png"][::-1])
    assert errors.count("\n") == 3  # the lens, the damaged file, what was done
    assert "photos/broken.jpg is damaged" in errors and "3 pictures" in errors
    assert "1 could not be read: see out/predict" in errors
    assert output.startswith("class ") and "road" in output
    names = {row["picture"] for row in csv.DictReader((OUT / "seen.csv").open())}
    assert names == {"a.png", "a.bmp", "deep.png"}


def test_the_same_command_replaces_only_its_own_files(run, write_image, noise):
    write_image(Path("a.png"), noise)
    assert run("a.png") == 0
    notes = OUT / "a.png" / "notes.txt"
    notes.write_text("mine")
    before = np.load(OUT / "a.png" / "depth.npy")
    assert run("a.png", "--focal", 100) == 0
    assert notes.read_text() == "mine"
    np.testing.assert_allclose(np.load(OUT / "a.png" / "depth.npy"), 2 * before)
    assert not (OUT / "seen.csv").exists()  # one picture has its own table


def test_a_video_becomes_an_overlay_video_with_its_times(run, write_image, noise, capsys):
    av = pytest.importorskip("av", reason="videos need PyAV (pip install av)")
    from emu_core.bags.video_writer import VideoWriter

    times = [0, 0.1, 0.2, 0.7, 0.8]
    with VideoWriter("drive.mp4") as video:
        for time_s in times:
            video.write(noise, time_s)
    assert run("drive.mp4", "--every", 2, "--frames", 4) == 0
    folder = OUT / "drive.mp4"
    assert {path.name for path in folder.iterdir()} == {
        *("overlay.mp4", "seen.csv", "000000", "000002")
    }
    with av.open(str(folder / "overlay.mp4")) as container:
        frames = list(container.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx(times[:4], abs=0.01)
    assert (folder / "000002" / "points.ply").is_file()
    assert "predict: 4 frames in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["empty"], 1, "predict: empty has no pictures (.jpg, .jpeg, "),
        (
            ["missing.png"],
            1,
            "predict: There is no picture, folder, video or camera missing.png. Check the path.",
        ),
        (["99"], 1, "predict: Camera 99 does not open."),
        (["a.txt"], 1, "predict: PyAV cannot read a.txt as a video"),
        (["a.png", "--output", "a.txt"], 1, "predict: a.txt: File exists."),
        (["a.png", "--output", "."], 1, "predict: The results cannot be written into a.png"),
        (["a.png", "--focal", "0"], 2, "must be above 0 pixels"),
        (["a.png", "--fov", "75", "--focal", "5"], 2, "not both"),
        (["a.png", "--every", "0"], 2, "at least 1"),
        (["a.png", "--max-std-ratio", "nan"], 2, "at least 0"),
    ],
)
def test_a_mistake_is_one_sentence(run, write_image, noise, capfd, arguments, code, reason):
    pytest.importorskip("av", reason="videos need PyAV (pip install av)")
    write_image(Path("a.png"), noise)
    Path("a.txt").write_text("no video")
    Path("empty").mkdir()
    try:
        found = run(*arguments)
    except SystemExit as error:  # argparse's
        found = error.code
    errors = capfd.readouterr().err
    assert found == code and reason in errors and "Traceback" not in errors
    assert code == 2 or len(errors.splitlines()) <= 3


def test_a_wrong_model_is_named_before_anything_is_written(tmp_path, write_image, noise, capsys):
    picture = write_image(tmp_path / "a.png", noise)
    output = tmp_path / "out"
    assert main([str(picture), "--model", "no.onnx", "--output", str(output)]) == 1
    assert "there is no model file at no.onnx" in capsys.readouterr().err
    assert not output.exists()


def test_the_command_prints_its_help():
    command = [sys.executable, "-m", "emu_core.predict", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "python -m emu_core.predict street.jpg --fov 70" in done.stdout
