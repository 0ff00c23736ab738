"""Which program replays a bag: rosbag2's where it is installed and has the plugin, else ours."""

import sys
from pathlib import Path

import pytest

from emu_perception import bag_player, player


@pytest.fixture
def bag(tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()
    (folder / "drive_0.db3").touch()
    return folder


def install(tmp_path, monkeypatch, *modules):
    """A machine with these Python modules, and an ament index without packages."""
    for module in modules:
        (tmp_path / f"{module}.py").touch()
    index = tmp_path / "prefix/share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "prefix"))


def test_without_rosbag2_our_player_plays(bag, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "ros2bag")  # the command, but not the player behind it
    assert not bag_player.rosbag2_plays(bag)


def test_rosbag2_plays_where_it_is_installed(bag, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "ros2bag", "rosbag2_py")
    assert bag_player.rosbag2_plays(bag)


@pytest.mark.parametrize("given_as", ["folder", "file"])
def test_rosbag2_plays_mcap_only_with_its_plugin_which_humble_installs_on_demand(
    tmp_path, monkeypatch, given_as
):
    pytest.importorskip("ament_index_python", reason="needs ROS 2 (ament_index_python)")
    drive = tmp_path / "drive"
    drive.mkdir()
    (drive / "drive.mcap").touch()
    given = drive if given_as == "folder" else drive / "drive.mcap"
    install(tmp_path, monkeypatch, "ros2bag", "rosbag2_py")
    assert not bag_player.rosbag2_plays(given)
    (tmp_path / "prefix/share/ament_index/resource_index/packages/rosbag2_storage_mcap").touch()
    assert bag_player.rosbag2_plays(given)
    monkeypatch.delenv("AMENT_PREFIX_PATH")
    assert not bag_player.rosbag2_plays(given)


@pytest.mark.parametrize("clock", [False, True])
def test_bag_time_is_published_only_when_it_is_wanted(clock):
    drive = Path("drive")
    assert ("--clock" in bag_player.rosbag2_command(drive, clock=clock)) is clock
    given = player._parser().parse_args(bag_player.player_arguments(drive, clock=clock))
    assert given.clock is clock
    assert given.bag == drive
    assert given.wait_for_subscribers == 1
