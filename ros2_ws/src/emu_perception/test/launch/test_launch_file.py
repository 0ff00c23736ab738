"""launch/emu.launch.py run for real: node, parameters, bag and DDS profile come out as asked."""

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")
pytest.importorskip(
    "launch_ros", reason="needs launch and launch_ros, which are not in the wheels"
)

import numpy as np
from helpers.camera_rig import CameraRig, counts, image_message
from helpers.launched import LAUNCH, installed, launched, stand_in
from launch import LaunchContext
from launch.actions import SetEnvironmentVariable
from launch.launch_description_sources import get_launch_description_from_python_launch_file
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python

from emu_core.bags.writer import BagWriter
from emu_perception.ros import dds
from emu_perception.ros.launch import LAUNCH_ARGUMENTS

FRAMES = 20


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    return installed(tmp_path_factory.mktemp("prefix"))


def description(file="emu.launch.py"):
    return get_launch_description_from_python_launch_file(str(LAUNCH / file))


def arguments_of(file):
    """The arguments that `ros2 launch --show-args` lists, by name."""
    listed = description(file).get_launch_arguments_with_include_launch_description_actions()
    return {argument.name: argument for argument, _ in listed}


def parameters(ros, node, *names):
    """Values that a running node gives."""
    client = ros.node.create_client(GetParameters, f"{node}/get_parameters")
    ros.wait_until(client.service_is_ready, f"the parameters of {node}")
    future = client.call_async(GetParameters.Request(names=names))
    ros.wait_until(future.done, f"the answer of {node}")
    return [parameter_value_to_python(value) for value in future.result().values]


def write_bag(path, topic):
    """Twenty images within two seconds."""
    with BagWriter(path) as writer:
        types = writer.store.types
        writer.add_topic(topic, "sensor_msgs/msg/Image")
        for index in range(FRAMES):
            time_ns = 1_700_000_000_000_000_000 + index * 100_000_000
            stamp = types["builtin_interfaces/msg/Time"](*divmod(time_ns, 10**9))
            header = types["std_msgs/msg/Header"](stamp, "camera_optical")
            pixels = np.full(8 * 8, index, np.uint8)
            image = types["sensor_msgs/msg/Image"](header, 8, 8, "mono8", 0, 8, pixels)
            writer.write(topic, time_ns, writer.encode(image))
    return path


def test_the_arguments_are_those_of_the_table():
    shown = arguments_of("emu.launch.py")
    assert list(shown) == [a.name for a in LAUNCH_ARGUMENTS]
    context = LaunchContext()
    for argument in LAUNCH_ARGUMENTS:
        shown[argument.name].visit(context)
        assert context.launch_configurations[argument.name] == argument.default
        assert tuple(shown[argument.name].choices or ()) == argument.choices


def test_the_example_for_nav2_takes_them_too_but_leaves_the_start_to_the_manager():
    file = "nav2_semantic.launch.py"
    assert set(arguments_of(file)) == {"costmap_params"} | {a.name for a in LAUNCH_ARGUMENTS}
    (included,) = (e for e in description(file).entities if hasattr(e, "launch_arguments"))
    assert list(included.launch_arguments) == [("autostart", "false")]


@pytest.mark.parametrize("chosen", ["", *dds.PROFILE_VARIABLES])
def test_every_process_gets_the_dds_profile_unless_the_user_has_one(monkeypatch, chosen):
    for name in dds.PROFILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if chosen:
        monkeypatch.setenv(chosen, "/my/profile.xml")
    context = LaunchContext()
    for entity in description().entities:
        if isinstance(entity, SetEnvironmentVariable):
            entity.visit(context)
    expected = "" if chosen else str(dds.profile())
    for name in set(dds.PROFILE_VARIABLES) - {chosen}:
        assert context.environment.get(name, "") == expected


def test_the_launched_node_answers_and_has_arguments_above_file_above_defaults(
    prefix, domain, model, tmp_path
):
    own = tmp_path / "own.yaml"
    own.write_text(
        "/robot/emu_perception:\n  ros__parameters:\n"
        "    jpeg_quality: 33\n    fit: letterbox\n    model: /no/such.onnx\n"
        "    use_sim_time: true\n"
    )
    rig = CameraRig(domain, "/robot", image_topic="camera/color")
    arguments = {"namespace": "robot", "image": "camera/color", "params_file": own, "model": model}
    with launched(prefix, domain, "emu.launch.py", **arguments) as process:
        process.wait_for_line("waiting for /robot/camera/color and /robot/camera/camera_info")
        rig.wait_for_answers()
        rig.ask(image_message("mono8", 8, 8, bytes(64)))
        names = ("model", "jpeg_quality", "fit", "overlay_alpha", "use_sim_time")
        values = parameters(rig.ros, "/robot/emu_perception", *names)
    rig.ros.close()
    assert values == [str(model), 33, "letterbox", 0.5, True]
    assert process.process.returncode == 0
    assert counts(process)["answered"] >= 2


def test_a_bag_waits_for_the_node_so_that_no_image_of_it_is_lost(prefix, domain, model, tmp_path):
    bag = write_bag(tmp_path / "drive", "/camera/image_raw")
    rig = CameraRig(domain, "/replayed", topics=["semantic/image"])
    arguments = {"namespace": "replayed", "image": "/camera/image_raw", "bag": bag, "model": model}
    with launched(prefix, domain, "emu.launch.py", **arguments) as process:
        process.wait_for_line(f"player: {FRAMES} frames")
        process.wait_for_line("process has finished cleanly")
        rig.ros.wait_until(lambda: rig.received, "answers")
        assert parameters(rig.ros, "/replayed/emu_perception", "use_sim_time") == [True]
    rig.ros.close()
    told = counts(process)
    assert told["in"] == FRAMES
    assert told["answered"] + told["dropped"] + told["unheard"] == FRAMES


def test_ctrl_c_before_the_node_listens_ends_the_node_and_starts_no_bag(prefix, domain, tmp_path):
    slow = installed(tmp_path / "slow")
    stand_in(slow / "lib/emu_perception/emu_node")
    arguments = {"bag": write_bag(tmp_path / "drive", "/image")}
    with launched(slow, domain, "emu.launch.py", **arguments) as process:
        number = int(process.wait_for_line(r"emu_node (\d+) ").group(1))
        assert process.stop() == 0
    assert not Path(f"/proc/{number}").exists()
    assert "player" not in process.output


def test_what_the_node_says_of_a_wrong_model_is_on_the_screen(prefix, domain):
    with launched(prefix, domain, "emu.launch.py", model="/no/such.onnx") as process:
        process.wait_for_line(r"\[emu_node-1\].*/no/such\.onnx")


@pytest.mark.parametrize(
    ("file", "arguments", "said"),
    [
        ("emu", {"rviz": "true"}, "rviz:=true needs rviz2, and the sourced ROS has none"),
        ("emu", {"params_file": "/no/such.yaml"}, "there is no params_file /no/such.yaml"),
        ("emu", {"bag": "/no/such"}, "there is no bag /no/such"),
        ("emu", {"provider": "quantum"}, "Valid options are"),
        ("nav2_semantic", {}, "the costmap needs nav2_costmap_2d and nav2_lifecycle_manager and"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(prefix, domain, file, arguments, said):
    with launched(prefix, domain, f"{file}.launch.py", alone=True, **arguments) as process:
        assert process.wait() == 1
    assert said in process.output
    assert "process started" not in process.output


def test_the_example_for_nav2_gives_costmap_and_manager_its_parameter_file(tmp_path, domain):
    """Stand-ins for Nav2's programs print what they are started with."""
    prefix = installed(tmp_path / "prefix")
    programs = {
        "nav2_costmap_2d": "nav2_costmap_2d",
        "nav2_lifecycle_manager": "lifecycle_manager",
    }
    for package in (*programs, "semantic_segmentation_layer"):
        (prefix / "share/ament_index/resource_index/packages" / package).touch()
    for package, program in programs.items():
        stand_in(prefix / "lib" / package / program)
    own = tmp_path / "own.yaml"
    own.write_text("{}")
    with launched(prefix, domain, "nav2_semantic.launch.py", costmap_params=own) as process:
        process.wait_for_line(rf"nav2_costmap_2d \d+ .*--params-file {own}\.")
        process.wait_for_line(
            rf"lifecycle_manager \d+ .*__node:=lifecycle_manager_semantic .*--params-file {own}\."
        )
        process.wait_for_line(r"emu_node-\d\]: process started")
