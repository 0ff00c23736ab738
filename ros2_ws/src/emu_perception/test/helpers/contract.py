"""What the shipped files may name, and whether the long tests run (`make test-long`)."""

import os

import pytest

from emu_perception.node import label_info
from emu_perception.node.outputs import OUTPUTS
from emu_perception.node.parameters import PARAMETERS as TABLE

PARAMETERS = {parameter.name: parameter for parameter in TABLE}
TOPICS = {topic: output.kind.__name__ for topic, output in OUTPUTS.items()}
TOPICS[label_info.TOPIC] = "LabelInfo"

ASKED = bool(os.environ.get("EMU_LONG_TESTS"))
LONG = pytest.mark.skipif(not ASKED, reason="set EMU_LONG_TESTS=1")
