"""What the launch files need: the program that plays a bag, and the installed packages."""

from pathlib import Path

import pytest

pytest.importorskip("ament_index_python", reason="needs ROS 2 (ament_index_python)")

from emu_core.bags.writer import BagWriter
from emu_perception.errors import UserError
from emu_perception.ros import launch

DOCUMENT = Path(__file__).parents[5] / "docs" / "nav2.md"


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
        "sudo apt install ros-$ROS_DISTRO-nav2-costmap-2d ros-$ROS_DISTRO-nav2-msgs"
    )


def arguments(**given):
    return {**{a.name: a.default for a in launch.LAUNCH_ARGUMENTS}, "namespace": "/", **given}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rviz", "True", "true"),
        ("autostart", "FALSE", "false"),
        ("use_sim_time", "tRue", "true"),
        ("log_level", "WARN", "warn"),
        ("provider", "CUDA", "cuda"),
        ("image_transport", "Compressed", "compressed"),
        ("image", "/Camera/Left", "/Camera/Left"),
    ],
)
def test_choices_are_accepted_in_any_case(name, text, value):
    assert launch.checked(arguments(**{name: text}))[name] == value


@pytest.mark.parametrize(
    ("name", "text"), [("rviz", "maybe"), ("log_level", "loud"), ("provider", "quantum")]
)
def test_other_words_are_refused_with_the_choices(name, text):
    with pytest.raises(UserError, match=rf"{name}: expected one of .*, but got '{text}'"):
        launch.checked(arguments(**{name: text}))


@pytest.fixture
def bag(tmp_path):
    """Function that writes a bag with a message on each of these topics."""

    def write(**topics):
        with BagWriter(tmp_path / "bag") as writer:
            for topic, kind in topics.items():
                name = "/" + topic.replace("__", "/")
                writer.add_topic(name, f"sensor_msgs/msg/{kind}")
                writer.write(name, 1, bytes(4))
        return str(tmp_path / "bag")

    return write


RAW, JPEG = {"cam__image": "Image"}, {"cam__image__compressed": "CompressedImage"}


@pytest.mark.parametrize(
    ("topics", "wanted", "transport"),
    [
        (JPEG, "", "compressed"),
        (RAW, "", "raw"),
        ({**RAW, **JPEG}, "", ""),
        ({**RAW, **JPEG}, "compressed", "compressed"),
        (JPEG, "compressed", "compressed"),
    ],
)
@pytest.mark.parametrize(("namespace", "image"), [("/", "/cam/image"), ("/cam", "image")])
def test_the_node_reads_the_transport_that_the_bag_has(
    bag, topics, wanted, transport, namespace, image
):
    given = arguments(bag=bag(**topics), image=image, namespace=namespace, image_transport=wanted)
    assert launch.with_transport_of_bag(given) == {**given, "image_transport": transport}


@pytest.mark.parametrize(
    ("topics", "given", "text"),
    [
        (JPEG, ("image", ""), "no images on /image; .*/cam/image/compressed .image:=/cam/image."),
        (JPEG, ("/cam/image", "raw"), "has no images on /cam/image;"),
        (RAW, ("/cam/image", "compressed"), "has no images on /cam/image/compressed;"),
        ({"info": "CameraInfo"}, ("/cam/image", ""), "its image topics: none"),
    ],
)
def test_a_bag_without_the_images_is_a_mistake_that_names_its_topics(bag, topics, given, text):
    with pytest.raises(UserError, match=text):
        image, transport = given
        launch.with_transport_of_bag(
            arguments(bag=bag(**topics), image=image, image_transport=transport)
        )


@pytest.mark.parametrize("cameras", ["cameras: [front, rear]", "cameras:\n      - front"])
def test_topics_of_several_cameras_are_not_looked_for(bag, tmp_path, cameras):
    file = tmp_path / "several.yaml"
    file.write_text(f"/**:\n  ros__parameters:\n    {cameras}\n")
    given = arguments(bag=bag(**JPEG), params_file=str(file))
    assert launch.with_transport_of_bag(given) == given
    file.write_text("/**:\n  ros__parameters:\n    cameras: []\n")
    with pytest.raises(UserError):
        launch.with_transport_of_bag(given)


def test_a_bag_that_only_rosbag2_may_read_is_left_to_it(tmp_path):
    (tmp_path / "bag").write_text("no bag")
    given = arguments(bag=str(tmp_path / "bag"))
    assert launch.with_transport_of_bag(given) == given


def test_a_package_without_a_binary_is_to_be_built(index):
    (index / "rviz2").touch()
    with pytest.raises(UserError) as caught:
        launch.require(["nav2_costmap_2d", "semantic_segmentation_layer"], "the costmap")
    assert str(caught.value).endswith(
        "sudo apt install ros-$ROS_DISTRO-nav2-costmap-2d, and build "
        "https://github.com/kiwicampus/semantic_segmentation_layer in your workspace"
    )
    assert "kiwicampus/semantic_segmentation_layer" in DOCUMENT.read_text(encoding="utf-8")
