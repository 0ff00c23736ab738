"""Commands of training/ as modules and as functions."""

import importlib.util
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

TRAINING = Path(__file__).parents[2] / "training"


@pytest.fixture(scope="module")
def load_command():
    """Function that imports a command of training/, e.g. "distill", as a module."""
    with pytest.MonkeyPatch.context() as patch:

        def load(name):
            spec = importlib.util.spec_from_file_location(name, TRAINING / f"{name}.py")
            module = importlib.util.module_from_spec(spec)
            patch.setitem(sys.modules, name, module)
            spec.loader.exec_module(module)
            return module

        yield load


@pytest.fixture(scope="session")
def as_arguments():
    """Function that makes a command line of a dictionary of options."""
    return lambda options: [
        str(p) for name, value in options.items() for p in (f"--{name}", value)
    ]


@pytest.fixture
def run(load_command, monkeypatch, tmp_path):
    """Function that runs a command of training/ in tmp_path, and returns its exit status."""
    monkeypatch.chdir(tmp_path)

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        return load_command(name).main()

    return call


@pytest.fixture(scope="session")
def write_folder():
    """Function that writes a folder data set of noise, 32 × 64, without code under test.

    `counts` are the frames of each split, `ids` the label ids that are drawn, `points` the share
    of the pixels with depth. Without `ids`, `points` or `focal`, no such files are written.
    """

    def write(root, counts, ids=(), points=0.0, focal=None, **about):
        rng, size = np.random.default_rng(0), (32, 64)
        for name in ("images", "labels", "depth"):
            (root / name).mkdir(parents=True)
        for split, count in counts.items():
            for name in (f"{split}_{k}" for k in range(count)):
                cv2.imwrite(
                    str(root / f"images/{name}.png"), rng.integers(0, 256, (*size, 3), np.uint8)
                )
                if ids:
                    labels = rng.choice(np.array(ids, np.uint8), size)
                    cv2.imwrite(str(root / f"labels/{name}.png"), labels)
                if points:
                    depth = rng.uniform(3, 40, size) * (rng.random(size) < points)
                    cv2.imwrite(str(root / f"depth/{name}.png"), np.uint16(256 * depth))
        if focal:
            camera = {"width": 64, "height": 32, "fx": focal, "fy": focal}
            (root / "cameras.json").write_text(json.dumps({".": camera}))
        splits = {split: f"{split}_*" for split in counts}
        (root / "dataset.yaml").write_text(yaml.safe_dump({"splits": splits, **about}))

    return write
