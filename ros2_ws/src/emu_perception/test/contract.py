"""What the shipped files may name: the node's parameters and topics, and those that come soon."""

from emu_perception.outputs import outputs
from emu_perception.parameters import PARAMETERS as TABLE

PARAMETERS = {parameter.name: parameter for parameter in TABLE}
TOPICS = {output.topic: output.kind.__name__ for output in outputs(80)}

PARAMETERS_SOON = {"autostart", "max_rate", "max_depth_std_ratio", "unknown_above"}
TOPICS_SOON = {"points": "PointCloud2", "semantic/label_info": "LabelInfo"}
ALL_TOPICS = TOPICS | TOPICS_SOON
