"""launch/emu.launch.py starts the node with the right parameters, bag and DDS profile."""

import re
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")
pytest.importorskip(
    "launch_ros", reason="needs launch and launch_ros, which are not in the wheels"
)

from helpers.camera_rig import CameraRig, counts, gray
from helpers.drive_bags import IMAGE, write_bag
from helpers.launched import LAUNCH, installed, launched, stand_in
from launch import LaunchContext
from launch.actions import SetEnvironmentVariable
from launch.launch_description_sources import get_launch_description_from_python_launch_file

from emu_perception.ros import dds
from emu_perception.ros.launch import LAUNCH_ARGUMENTS

FRAMES = 20
DRIVE = Path(__file__).parents[5] / "demo" / "drive"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    return installed(tmp_path_factory.mktemp("prefix"))


def description(file):
    return get_launch_description_from_python_launch_file(str(LAUNCH / file))


def test_the_example_for_nav2_takes_all_arguments_but_lets_the_manager_start_the_node():
    nav2 = description("nav2_semantic.launch.py")
    listed = nav2.get_launch_arguments_with_include_launch_description_actions()
    names = {argument.name for argument, _ in listed}
    assert names == {"costmap_params"} | {a.name for a in LAUNCH_ARGUMENTS}
    (included,) = (e for e in nav2.entities if hasattr(e, "launch_arguments"))
    assert list(included.launch_arguments) == [("autostart", "false")]


def test_every_process_gets_our_dds_profile(monkeypatch):
    for name in dds.PROFILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    context = LaunchContext()
    for entity in description("emu.launch.py").entities:
        if isinstance(entity, SetEnvironmentVariable):
            entity.visit(context)
    found = [context.environment.get(name) for name in dds.PROFILE_VARIABLES]
    assert set(filter(None, found)) == {str(dds.profile())}


def test_arguments_override_the_parameter_file_which_overrides_defaults(
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
        rig.wait_for_outputs()
        rig.process_image(gray())
        names = ("model", "jpeg_quality", "fit", "overlay_alpha", "use_sim_time")
        values = [rig.remote.get(name) for name in names]
    rig.ros.close()
    assert values == [str(model), 33, "letterbox", 0.5, True]
    assert process.process.returncode == 0
    assert counts(process)["processed"] >= 2


def test_no_image_of_a_bag_is_lost_because_the_player_waits_for_the_node(
    prefix, domain, model, tmp_path
):
    bag = write_bag(tmp_path / "drive", FRAMES, reliable=True)
    rig = CameraRig(domain, "/replayed", topics=["semantic/image"])
    arguments = {"namespace": "replayed", "image": IMAGE, "bag": bag, "model": model}
    with launched(prefix, domain, "emu.launch.py", **arguments) as process:
        process.wait_for_line(f"player: {FRAMES} frames")
        process.wait_for_line("process has finished cleanly")
        assert rig.remote.get("use_sim_time") is True
    rig.ros.close()
    totals = counts(process)
    assert totals["in"] == FRAMES
    assert totals["processed"] + totals["dropped"] + totals["no_subscriber"] == FRAMES


def test_a_bag_with_compressed_images_alone_is_played_to_a_node_that_reads_them(
    prefix, domain, model
):
    arguments = {"image": "/camera/image_raw", "bag": DRIVE, "model": model, "log_level": "INFO"}
    with launched(prefix, domain, "emu.launch.py", **arguments) as process:
        process.wait_for_line("waiting for /camera/image_raw/compressed")
        process.wait_for_line(r"player: \d+ frames", 60)
    assert "\x1b[" not in process.output, "colour codes in a log that is no terminal"


def test_a_bag_is_not_waited_for_when_the_node_has_ended(prefix, domain, tmp_path):
    arguments = {"bag": write_bag(tmp_path / "drive", 1), "image": IMAGE}
    with launched(prefix, domain, "emu.launch.py", model="/no/such.onnx", **arguments) as process:
        process.wait(90)
    assert "no model file at /no/such.onnx" in process.output
    assert "player" not in process.output


def test_ctrl_c_before_the_node_subscribes_ends_the_node_and_starts_no_bag(
    prefix, domain, tmp_path
):
    slow = installed(tmp_path / "slow")
    stand_in(slow / "lib/emu_perception/emu_node")
    arguments = {"bag": write_bag(tmp_path / "drive", FRAMES, reliable=True), "image": IMAGE}
    with launched(slow, domain, "emu.launch.py", **arguments) as process:
        number = int(process.wait_for_line(r"emu_node (\d+) ").group(1))
        assert process.stop() == 0
    assert not Path(f"/proc/{number}").exists()
    assert "player" not in process.output


@pytest.mark.parametrize(
    ("file", "arguments", "text"),
    [
        ("emu", {"rviz": "true"}, "rviz:=true needs rviz2, which the sourced ROS does not have"),
        ("emu", {"params_file": "/no/such.yaml"}, "there is no params_file /no/such.yaml"),
        ("emu", {"bag": "/no/such"}, "there is no bag /no/such"),
        (
            "emu",
            {"provider": "quantum"},
            "provider: expected one of auto, cpu, .*, but got 'quantum'",
        ),
        ("emu", {"bag": "{drive}"}, "has no images on /image; .*image:=/camera/image_raw"),
        ("nav2_semantic", {}, "the costmap needs nav2_costmap_2d and nav2_lifecycle_manager and"),
    ],
)
def test_a_mistake_is_reported_before_a_process_starts(prefix, domain, file, arguments, text):
    if "bag" in arguments:
        arguments = {"bag": arguments["bag"].format(drive=DRIVE)}
    with launched(prefix, domain, f"{file}.launch.py", alone=True, **arguments) as process:
        assert process.wait() == 1
    assert re.search(text, process.output), process.output
    assert "process started" not in process.output


def test_the_example_for_nav2_refuses_to_start_the_node_itself(domain, tmp_path):
    prefix = with_nav2(tmp_path / "prefix")
    with launched(prefix, domain, "nav2_semantic.launch.py", autostart="True") as process:
        assert process.wait() == 1
    assert "autostart:=true is not possible here" in process.output
    assert "process started" not in process.output


def with_nav2(prefix):
    """Install stand-ins for Nav2's programs, which print their arguments."""
    programs = {
        "nav2_costmap_2d": "nav2_costmap_2d",
        "nav2_lifecycle_manager": "lifecycle_manager",
    }
    installed(prefix)
    for package in (*programs, "semantic_segmentation_layer"):
        (prefix / "share/ament_index/resource_index/packages" / package).touch()
    for package, program in programs.items():
        stand_in(prefix / "lib" / package / program)
    return prefix


def test_the_example_for_nav2_gives_costmap_and_manager_its_parameter_file(tmp_path, domain):
    prefix = with_nav2(tmp_path / "prefix")
    own = tmp_path / "own.yaml"
    own.write_text("{}")
    with launched(prefix, domain, "nav2_semantic.launch.py", costmap_params=own) as process:
        process.wait_for_line(rf"nav2_costmap_2d \d+ .*--params-file {own}\.")
        process.wait_for_line(
            rf"lifecycle_manager \d+ .*__node:=lifecycle_manager_semantic .*--params-file {own}\."
        )
        process.wait_for_line(r"emu_node-\d\]: process started")
