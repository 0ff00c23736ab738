"""What the launch files need: the program that plays a bag, and the installed packages."""

import pytest

pytest.importorskip("ament_index_python", reason="needs ROS 2 (ament_index_python)")

from emu_perception.errors import UserError
from emu_perception.ros import launch


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The package index of a ROS environment without packages."""
    folder = tmp_path / "prefix/share/ament_index/resource_index/packages"
    folder.mkdir(parents=True)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "prefix"))
    return folder


@pytest.fixture
def drive(tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()
    return folder


def install(folder, monkeypatch, *modules):
    """Add empty Python modules to the path."""
    for module in modules:
        (folder / f"{module}.py").touch()
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize(
    ("modules", "plays"), [(["ros2bag"], False), (["ros2bag", "rosbag2_py"], True)]
)
def test_rosbag2_plays_if_its_command_and_its_player_are_installed(
    index, drive, tmp_path, monkeypatch, modules, plays
):
    install(tmp_path, monkeypatch, *modules)
    (drive / "drive_0.db3").touch()
    assert launch.rosbag2_plays(drive) == plays


@pytest.mark.parametrize("name", ["", "drive.mcap"], ids=["folder", "file"])
def test_rosbag2_plays_mcap_only_with_the_storage_plugin(
    index, drive, tmp_path, monkeypatch, name
):
    install(tmp_path, monkeypatch, "ros2bag", "rosbag2_py")
    (drive / "drive.mcap").touch()
    assert not launch.rosbag2_plays(drive / name)
    (index / "rosbag2_storage_mcap").touch()
    assert launch.rosbag2_plays(drive / name)
    monkeypatch.delenv("AMENT_PREFIX_PATH")
    assert not launch.rosbag2_plays(drive / name)


def test_missing_packages_are_reported_with_their_purpose_and_how_to_install_them(index):
    (index / "rviz2").touch()
    launch.require(["rviz2"], "rviz:=true")
    with pytest.raises(UserError) as caught:
        launch.require(["rviz2", "nav2_costmap_2d", "nav2_msgs"], "the costmap")
    assert str(caught.value) == (
        "the costmap needs nav2_costmap_2d and nav2_msgs, which the sourced ROS does not have: "
        "sudo apt install ros-$ROS_DISTRO-nav2-costmap-2d ros-$ROS_DISTRO-nav2-msgs, or build "
        "from source and source that workspace"
    )
