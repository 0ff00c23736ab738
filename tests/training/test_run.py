"""Metrics of a resumed run."""

import csv

import pytest

from emu_core.training.run import keep_metrics


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
