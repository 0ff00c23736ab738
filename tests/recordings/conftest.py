"""Conversion of small bags, and what it wrote."""

import json

import cv2
import pytest
import yaml
from bag_messages import START_S

from emu_core.recordings.convert import convert
from emu_core.recordings.options import ConversionOptions


class Written:
    """The files of a data set; frames are named by their path below images/."""

    def __init__(self, root, lines):
        self.root, self.summary = root, "\n".join(lines)

    def names(self, folder="images"):
        files = sorted((self.root / folder).rglob("*.*"))
        return [str(file.relative_to(self.root / folder).with_suffix("")) for file in files]

    def seconds(self, split):
        """Times of a split's frames after the start of the bag."""
        stems = [name.rsplit("/", 1)[1] for name in self.names() if name.startswith(f"{split}/")]
        return [int(stem[:10]) - START_S + int(stem[11:]) / 1e9 for stem in stems]

    def read(self, folder, name):
        """Pixels of a PNG or JPEG as stored."""
        (file,) = self.root.glob(f"{folder}/{name}.*")
        return cv2.imread(str(file), cv2.IMREAD_UNCHANGED)

    def yaml(self):
        return yaml.safe_load((self.root / "dataset.yaml").read_text())

    def cameras(self):
        return json.loads((self.root / "cameras.json").read_text())


@pytest.fixture
def make(tmp_path):
    """Function that converts bags with options into tmp_path/own."""

    def call(*bags, report=lambda done, total: None, **options):
        options = ConversionOptions(bags, tmp_path / "own", **options)
        return Written(tmp_path / "own", convert(options, report))

    return call
