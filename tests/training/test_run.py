"""Metrics of a resumed run, and what the weights that a training starts from have learned."""

import csv
from importlib.resources import files

import pytest

from emu_core.data.augment import Augmentation
from emu_core.labels import CITYSCAPES, NYUV2
from emu_core.networks import SegDepthFormer, WeightsError, save_model
from emu_core.runtime.model_file import read_info
from emu_core.training.config import Architecture, Data, StudentConfig, TrainingConfig
from emu_core.training.run import check_start, describe_training, keep_metrics
from emu_core.training.teacher import check_teacher


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_of_steps_that_are_done_again_are_left_out(tmp_path):
    (tmp_path / "metrics-1.csv").write_text("step,loss\n0,9\n")
    (tmp_path / "metrics.csv").write_text("loss,step,val_miou\n3,1,\n,2,0.5\n1,3,\n,3,0.6\n")
    keep_metrics(tmp_path, done=3)
    assert not (tmp_path / "metrics.csv").exists()
    kept = (tmp_path / "metrics-2.csv").read_text()
    assert kept == "loss,step,val_miou\n3,1,\n,2,0.5\n"


@pytest.mark.parametrize("torn", ["12", "12,0.5,9", "", ",", "1,0.2,1"])
def test_metrics_that_a_kill_cut_off_are_left_out(tmp_path, torn):
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"step,loss,val_miou\r\n1,3,\r\n\r\nx,1,\r\n2,\r\n" + torn.encode())
    keep_metrics(tmp_path, done=100)
    assert rows(tmp_path / "metrics-1.csv") == [{"step": "1", "loss": "3", "val_miou": ""}]
    for content in ("", "step,lo"):  # killed while the columns were written
        path.write_text(content)
        keep_metrics(tmp_path, done=100)
        assert [left.name for left in tmp_path.iterdir()] == ["metrics-1.csv"]


def test_earlier_metrics_are_not_written_over(tmp_path):
    (tmp_path / "metrics-2.csv").write_text("step\n0\n")
    for step in (1, 2):
        (tmp_path / "metrics.csv").write_text(f"step\n{step}\n")
        keep_metrics(tmp_path, done=9)
    found = {path.name: rows(path)[0]["step"] for path in tmp_path.iterdir()}
    assert found == {"metrics-1.csv": "1", "metrics-2.csv": "0", "metrics-3.csv": "2"}


def starting_from(init, focal, task="joint"):
    data = Data(augmentation=Augmentation(64, 128, canonical_focal=focal))
    return TrainingConfig(data, Architecture(init=init, task=task))


@pytest.fixture
def trained(tmp_path):
    """Weights that learned Cityscapes' classes, and depth for 100 pixels."""
    path = tmp_path / "trained.safetensors"
    classes = {"classes": list(CITYSCAPES.names)}
    learned = describe_training(starting_from(None, 100.0)) | classes
    save_model(SegDepthFormer("b0"), path, {"learned": learned})
    return path


def test_a_training_does_not_start_from_another_scale(trained):
    check_start(starting_from(None, 50.0))
    check_start(starting_from(trained, 100.0))
    check_start(starting_from(trained, 50.0, "segmentation"))
    check_start(starting_from(trained, 100.0, "depth"))
    with pytest.raises(WeightsError, match=r"length 100 px against 50 px\. Train with the values"):
        check_start(starting_from(trained, 50.0))
    with pytest.raises(WeightsError, match=r"length 100 px against none \(plain metres\)"):
        check_start(starting_from(trained, None, "depth"))


def test_a_model_file_is_compared_as_well():
    shipped = files("emu_core") / "models" / "emu_b0_drives.onnx"
    focal = read_info(shipped).canonical_focal
    check_start(starting_from(shipped, focal))
    check_start(starting_from(shipped, None))  # plain metres: not comparable
    with pytest.raises(WeightsError, match=rf"length {focal:g} px against {2 * focal:g} px"):
        check_start(starting_from(shipped, 2 * focal))


def test_a_student_does_not_learn_from_a_teacher_of_another_scale_or_classes(trained):
    def student(focal):
        return StudentConfig(starting_from(None, focal).data)

    check_teacher([trained], student(100.0), CITYSCAPES)
    with pytest.raises(WeightsError, match=r"student's configuration .* 100 px against 50 px"):
        check_teacher([trained], student(50.0), CITYSCAPES)
    with pytest.raises(WeightsError, match="against 40"):
        check_teacher([trained], student(100.0), NYUV2)
