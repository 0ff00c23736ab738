"""What the shipped files may name: the node's parameters and topics."""

from emu_perception.node import label_info
from emu_perception.node.outputs import OUTPUTS
from emu_perception.node.parameters import PARAMETERS as TABLE

PARAMETERS = {parameter.name: parameter for parameter in TABLE}
TOPICS = {output.topic: output.kind.__name__ for output in OUTPUTS} | {
    label_info.TOPIC: "LabelInfo"
}
