"""LabelInfo and VisionClass as the node uses them, sent as a type that is installed.

The message is a DiagnosticStatus with a KeyValue (id, name) for each class; its hardware_id is the
stamp, in nanoseconds. So publishers, QoS and
order of arrival are real; only the type is not. Subscriptions receive the DiagnosticStatus.
"""

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue


class VisionClass(KeyValue):
    def __init__(self, class_id=0, class_name=""):
        super().__init__(key=str(class_id), value=class_name)


class LabelInfo(DiagnosticStatus):
    def __init__(self, header=None, class_map=()):
        stamp = header.stamp if header else Time()
        time_ns = stamp.sec * 10**9 + stamp.nanosec
        super().__init__(hardware_id=str(time_ns), values=list(class_map))


# rclpy's converters compare the class names with those of the types that they know.
for ours, theirs in ((VisionClass, KeyValue), (LabelInfo, DiagnosticStatus)):
    ours.__module__, ours.__name__ = theirs.__module__, theirs.__name__
