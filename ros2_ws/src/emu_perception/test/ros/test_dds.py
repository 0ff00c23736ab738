"""The Fast DDS profile of a process: whose choice it is, its size, and what was opened."""

import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from emu_perception.ros import dds

MB = 1 << 20
OLD, NEW = dds.PROFILE_VARIABLES


@pytest.fixture
def free(monkeypatch):
    """Set the bytes that are free in /dev/shm."""

    def set_free(size):
        found = SimpleNamespace(f_frsize=4096, f_blocks=size // 4096, f_bavail=size // 4096)
        monkeypatch.setattr(dds.os, "statvfs", lambda path: found)

    return set_free


@pytest.mark.parametrize("size", dds.SEGMENTS)
def test_our_profiles_have_segments_of_their_sizes(size):
    elements = ElementTree.parse(dds.profile(size)).iter()
    texts = [element.text for element in elements if element.tag.endswith("segment_size")]
    assert texts == [str(size)]


@pytest.mark.parametrize(
    ("available", "segment"),
    [(8192 * MB, 64), (256 * MB, 64), (200 * MB, 16), (63 * MB, 16), (50 * MB, 4), (13 * MB, 4)],
)
def test_three_processes_get_their_segments(free, available, segment):
    free(available)
    assert set(dds.environment({}).values()) == {str(dds.profile(segment * MB))}


def test_without_room_fast_dds_keeps_its_own_segment(free):
    free(12 * MB)
    assert dds.environment({}) == {}
    assert set(dds.environment({}, processes=2).values()) == {str(dds.profile(4 * MB))}


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("3.3.16", [OLD]),  # Humble
        ("7.1.9", [OLD]),  # Jazzy
        ("9.1.2", [NEW]),  # Kilted
        ("11.0.3", [NEW]),
        (None, [OLD, NEW]),
    ],
)
def test_the_variable_is_that_of_the_installed_ros(free, monkeypatch, version, names):
    def find_version(package):
        if version is None:
            raise metadata.PackageNotFoundError(package)
        return version

    monkeypatch.setattr(metadata, "version", find_version)
    free(256 * MB)
    assert dds.environment({}) == dict.fromkeys(names, str(dds.profile()))


@pytest.mark.parametrize(
    ("given", "excluded"),
    [
        ({"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}, True),
        ({"FASTDDS_BUILTIN_TRANSPORTS": "UDPv6"}, True),
        ({"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}, False),
        ({"FASTDDS_BUILTIN_TRANSPORTS": "SHM"}, False),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, False),
        ({"RMW_IMPLEMENTATION": "rmw_zenoh_cpp"}, False),
        ({OLD: "/no/such/file.xml"}, False),
        ({NEW: "/no/such/file.xml"}, False),
    ],
)
def test_a_user_s_choice_switches_our_profile_off(monkeypatch, given, excluded):
    (name, value), ours = *given.items(), str(dds.profile())
    assert dds.environment(given) == {}
    assert dds.user_choice(given) == f"{name}={value}"
    assert dds._excludes_shm(f"{name}={value}") == excluded
    # A parent process may have set ours.
    for variable in (OLD, NEW, "FASTDDS_BUILTIN_TRANSPORTS", "RMW_IMPLEMENTATION"):
        monkeypatch.delenv(variable, raising=False)
    for variable in {OLD, NEW} - {name}:
        monkeypatch.setenv(variable, ours)
    monkeypatch.setenv(name, value)
    dds.use_profile()
    assert ours not in (dds.os.environ.get(OLD), dds.os.environ.get(NEW))
    assert dds.os.environ[name] == value


@pytest.mark.parametrize("middleware", ["rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp", ""])
def test_fast_dds_by_name_is_no_choice_of_transports(free, middleware):
    free(256 * MB)
    found = dds.environment({"RMW_IMPLEMENTATION": middleware})
    assert set(found.values()) == {str(dds.profile())}


def test_a_profile_in_the_working_directory_is_a_choice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert dds.user_choice({}) == ""
    (tmp_path / "DEFAULT_FASTRTPS_PROFILES.xml").write_text("<dds/>")
    assert dds.user_choice({}) == "DEFAULT_FASTRTPS_PROFILES.xml" and dds.environment({}) == {}


def test_a_copy_of_our_profile_is_no_choice_and_gets_the_size_that_fits(free, tmp_path):
    copy = tmp_path / "fastdds.xml"
    copy.write_bytes(dds.profile().read_bytes())
    free(64 * MB)
    assert set(dds.environment({OLD: str(copy)}).values()) == {str(dds.profile(16 * MB))}


@pytest.mark.parametrize(
    ("profile", "excluded"),
    [
        ("<a><type>UDPv4</type><useBuiltinTransports>false</useBuiltinTransports></a>", True),
        ("<a><type>SHM</type><useBuiltinTransports>false</useBuiltinTransports></a>", False),
        ("<a/>", False),
    ],
)
def test_a_profile_of_the_user_may_exclude_shared_memory(tmp_path, profile, excluded):
    path = tmp_path / "user.xml"
    path.write_text(profile)
    assert dds._excludes_shm(dds.user_choice({NEW: str(path)})) == excluded


def test_only_own_segments_count(tmp_path):
    """A process keeps the locks of its own segments open, as seen with Fast DDS 2.14."""
    shm, descriptors = tmp_path / "shm", tmp_path / "fd"
    shm.mkdir()
    descriptors.mkdir()
    for name, size in (("0a1", 500), ("0b2", 9000), ("0c3", 70000)):
        (shm / f"fastrtps_{name}").write_bytes(bytes(size))
        (shm / f"fastrtps_{name}_el").touch()
    (shm / "fastrtps_port7000_el").touch()
    for number, name in enumerate(("fastrtps_0a1_el", "fastrtps_0b2_el", "fastrtps_port7000_el")):
        (descriptors / str(number)).symlink_to(shm / name)
    (descriptors / "9").symlink_to(shm / "fastrtps_dead_el")
    found = dds.transport("rmw_fastrtps_cpp", shm, descriptors)
    assert found.segment == 9000 and 0 < found.free <= found.total
    assert dds.transport("rmw_fastrtps_cpp", shm, tmp_path / "none").segment == 0


OPENED = """
import sys
from emu_perception.ros import dds
dds.use_profile()
import rclpy
rclpy.init(domain_id=int(sys.argv[1]))
node = rclpy.create_node("opened")
print(dds.transport("rmw_fastrtps_cpp").segment)
"""


SMALL_SHM = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=64m tmpfs /dev/shm; exec "$@"')


@pytest.mark.parametrize(
    ("prefix", "variable", "low", "high"),
    [
        ((), "", 4 * MB, 80 * MB),
        ((), "UDPv4", 0, 0),
        ((*SMALL_SHM, "-"), "", 16 * MB, 18 * MB),
    ],
    ids=["this machine", "user's choice", "container"],
)
def test_a_process_opens_the_segment_that_fits_unless_the_user_says_no(
    domain, prefix, variable, low, high
):
    if prefix and subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs namespaces, for a /dev/shm as in a container")
    environment = {**dds.os.environ, "FASTDDS_BUILTIN_TRANSPORTS": variable}
    # With LOCALHOST, rmw_fastrtps opens a segment of its own.
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SUBNET"
    command = [*prefix, sys.executable, "-c", OPENED, str(domain)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert low <= int(done.stdout.split()[-1]) <= high, done.stderr
    assert "deprecated" not in done.stderr
