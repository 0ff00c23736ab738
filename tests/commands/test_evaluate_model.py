"""`training/evaluate.py --model`: a model file is scored on every data set."""

import json

import numpy as np
import pytest

from emu_core.labels import CITYSCAPES, NYUV2
from emu_core.runtime.dummy_model import make_dummy_model


@pytest.fixture
def evaluate(run, tmp_path):
    """Function that scores a dummy model of some classes; returns status and scores."""

    def call(classes, *options):
        model = make_dummy_model(tmp_path / "dummy.onnx", classes=classes)
        path = tmp_path / "scores.json"
        status = run("evaluate", "--model", model, "--output", path, *options)
        return status, status or json.loads(path.read_text(), parse_constant=pytest.fail)

    return call


@pytest.mark.parametrize("option", ["--max-depth", "--max_depth"])
@pytest.mark.parametrize(("kind", "split"), [("drives", "test"), ("cityscapes", "val")])
def test_a_model_is_scored_on_the_test_split_of_its_data_set(
    evaluate, tmp_path, write_drive, capsys, kind, split, option
):
    write_drive(tmp_path / "data" / kind, split, f"{split}3000_000000_000000")
    status, scores = evaluate(CITYSCAPES, "--kind", kind, option, "40")
    assert status == 0 and list(scores) == [split]
    text = capsys.readouterr().out
    assert f"on data/{kind}, depth valid up to 40 m" in text
    assert "changes them by at most 0" in text
    assert 0 <= scores[split]["miou"] <= 1
    assert scores[split]["depth_rmse_m"] > 0


def test_nyuv2_has_its_own_range_and_other_classes_are_refused(
    evaluate, tmp_path, write_nyuv2_unpacked, capsys
):
    write_nyuv2_unpacked(tmp_path / "nyu", "test")
    options = ["--kind", "nyuv2", "--root", "nyu", "--splits", "test"]
    assert evaluate(NYUV2, *options)[0] == 0
    assert "depth valid up to 10 m" in capsys.readouterr().out
    assert evaluate(CITYSCAPES, *options)[0] == 1
    assert "is --kind right?" in capsys.readouterr().err


def test_metrics_without_ground_truth_are_null_in_the_file(evaluate, tmp_path, write_drive):
    nothing = np.zeros((80, 160), np.uint8)
    for name in ("test3000_000000_000000", "test3000_000000_000001"):
        write_drive(tmp_path / "data", "test", name, ids=nothing)
    status, scores = evaluate(CITYSCAPES, "--root", "data", "--stride", "2")
    assert status == 0
    assert scores["test"]["miou"] is None
    assert scores["test"]["label_error_auroc"] is None
