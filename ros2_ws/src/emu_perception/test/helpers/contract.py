"""The parameters and topics that the shipped files may name."""

from emu_perception.node import label_info
from emu_perception.node.outputs import OUTPUTS
from emu_perception.node.parameters import PARAMETERS as TABLE

PARAMETERS = {parameter.name: parameter for parameter in TABLE}
TOPICS = {topic: output.kind.__name__ for topic, output in OUTPUTS.items()}
TOPICS[label_info.TOPIC] = "LabelInfo"
