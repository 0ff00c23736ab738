"""The recorder's bag holds all outputs of the node in a form that other tools read."""

import numpy as np
import pytest
from helpers.labels import INSTALLED

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")
pytest.importorskip("rosbags", reason="needs rosbags")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from helpers.ros_processes import ChildProcess, module, stopping
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

K = [600.0, 0.0, 511.5, 0.0, 600.0, 255.5, 0.0, 0.0, 1.0]


def outputs():
    """One message of each kind that the node publishes, by topic."""
    values = np.array([1.5, np.nan, np.inf, -0.25], np.float32).tobytes()
    header = Header(frame_id="camera_optical")
    header.stamp.sec = 1_700_000_000
    layout = {"header": header, "height": 1, "width": 4}
    x = [PointField(name="x", datatype=PointField.FLOAT32, count=1)]
    status = DiagnosticStatus(level=DiagnosticStatus.WARN, name="emu_perception: scale")
    return {
        "/emu/depth/image": Image(**layout, encoding="32FC1", step=16, data=values),
        "/emu/depth/camera_info": CameraInfo(**layout, distortion_model="plumb_bob", k=K),
        "/emu/points": PointCloud2(**layout, fields=x, point_step=4, row_step=16, data=values),
        "/emu/overlay/compressed": CompressedImage(header=header, format="jpeg", data=values),
        "/diagnostics": DiagnosticArray(header=header, status=[status]),
    }


def record(ros, domain, output, sent, qos):
    """Publish messages, each on its topic, to a recorder that ends when it has one of each."""
    publishers = {t: ros.node.create_publisher(type(m), t, qos) for t, m in sent.items()}
    arguments = ("--topics", *sent, "--max-frames", "1", "--until-idle", "2")
    process = ChildProcess(*module("recorder", "--output", output, *arguments), domain=domain)
    with stopping(process):
        process.wait_for_line(f"recording {len(sent)} topics")
        for topic, publisher in publishers.items():
            ros.wait_until(publisher.get_subscription_count, f"the recorder of {topic}")
        for topic, message in sent.items():
            publishers[topic].publish(message)
        assert process.wait() == 0, process.output


def read(bag, store):
    """Topic → (type, definition, message), by rosbags and its own types alone."""
    found = {}
    with Reader(bag) as reader:
        for connection, _, data in reader.messages():
            message = store.deserialize_cdr(data, connection.msgtype)
            found[connection.topic] = connection.msgtype, connection.msgdef.data, message
    return found


def test_every_kind_of_output_is_recorded_unchanged(tmp_path, ros, domain):
    sent = outputs()
    record(ros, domain, tmp_path / "out", sent, QoSProfile(depth=5))
    found = read(tmp_path / "out", get_typestore(Stores.ROS2_HUMBLE))
    assert found.keys() == sent.keys()
    for topic, (msgtype, definition, message) in found.items():
        kind = type(sent[topic])
        assert msgtype == f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        assert definition.strip()  # Foxglove needs it
        if hasattr(message, "data"):
            assert bytes(message.data) == bytes(sent[topic].data)
    assert found["/emu/points"][2].fields[0].name == "x"
    assert found["/diagnostics"][2].status[0].name == "emu_perception: scale"
    assert found["/emu/depth/camera_info"][2].k.tolist() == K


@pytest.mark.skipif(not INSTALLED, reason="needs vision_msgs, of which there is no wheel")
def test_label_info_is_recorded_with_its_names(tmp_path, ros, domain):
    from vision_msgs import msg as messages

    road = messages.VisionClass(class_id=0, class_name="road")
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    sent = {"/emu/semantic/label_info": messages.LabelInfo(class_map=[road])}
    record(ros, domain, tmp_path / "out", sent, latched)
    store = get_typestore(Stores.ROS2_HUMBLE)
    with Reader(tmp_path / "out") as reader:
        (connection,) = reader.connections
        assert connection.ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"
        store.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
    (entry,) = read(tmp_path / "out", store)["/emu/semantic/label_info"][2].class_map
    assert (entry.class_id, entry.class_name) == (0, "road")
