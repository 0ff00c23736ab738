"""The Python lines of the README run as they are."""

import re

import cv2
import numpy as np
from run_command import ROOT

LINES = re.findall(r"^```python\n(.+?)^```", (ROOT / "README.md").read_text(), re.M | re.S)


def test_five_lines_perceive_a_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (lines,) = LINES
    assert sum(map(bool, lines.splitlines())) == 5
    street = cv2.imread(str(ROOT / "docs" / "demo.jpg"))[24:280, :512]  # the camera's tile
    assert cv2.imwrite("street.jpg", street)
    names = {}
    exec(lines, names)
    seen, near = names["seen"], names["near"]
    assert seen.labels.shape == near.shape and near.any()
    assert seen.depth[near].max() < 20
    assert np.isposinf(seen.depth[seen.labels == 10]).mean() > 0.9  # sky
