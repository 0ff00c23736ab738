"""LabelInfo and VisionClass as our node uses them, over the wire as a message that is there.

A DiagnosticStatus travels, with a KeyValue (id, name) per class: publishers, QoS and order of
arrival are real, the type is not. A reader gets the DiagnosticStatus.
"""

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue


class VisionClass(KeyValue):
    def __init__(self, class_id=0, class_name=""):
        super().__init__(key=str(class_id), value=class_name)


class LabelInfo(DiagnosticStatus):
    def __init__(self, class_map=()):
        super().__init__(values=list(class_map))


# rclpy's converters look at the names of the classes whose memory layout they know.
for ours, theirs in ((VisionClass, KeyValue), (LabelInfo, DiagnosticStatus)):
    ours.__module__, ours.__name__ = theirs.__module__, theirs.__name__
