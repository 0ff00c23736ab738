"""The README's table of tested versions agrees with constraints, environments and CI."""

import re

import pytest
import yaml
from packaging.requirements import Requirement
from run_command import ROOT

README = (ROOT / "README.md").read_text("utf-8")
SECTION = README.partition("\n## Versions\n")[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in SECTION.splitlines()
    if line.startswith("|")
][2:]
PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime")
ENVIRONMENTS = (ROOT / "tools/environment.sh").read_text()


def command_of(row):
    """The command that tests a row; None if nothing does."""
    found = re.search(r": `make (test-[a-z]+)`$", row[-1])
    return found and found[1]


def allowed(file, python, package):
    """What a constraints file requires of a package on a Python version."""
    lines = (line.partition("#")[0] for line in (ROOT / file).read_text().splitlines())
    given = [Requirement(line) for line in lines if line.strip()]
    (found,) = (
        each.specifier
        for each in given
        if each.name == package
        and (each.marker is None or each.marker.evaluate({"python_version": python}))
    )
    return found


def matches(specifier, version):
    """Whether a version of the table, such as 2.4, is the pinned one or in its range."""
    (pin, *others) = specifier
    if pin.operator == "==" and not others:
        return f"{pin.version}.".startswith(f"{version}.")
    return specifier.contains(f"{version}.99")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_versions_are_those_of_the_constraints(row):
    is_recent = command_of(row) in ("test-all", "test-kilted")
    file = "constraints.txt" if is_recent else "constraints-robot.txt"
    for python in row[1].split(", "):
        for package, version in zip(PACKAGES, row[2:5], strict=True):
            specifier = allowed(file, python, package)
            assert matches(specifier, version), (python, package, version, str(specifier))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_a_row_is_tested_with_its_distribution_or_says_that_it_is_not(row):
    command = command_of(row)
    if command is None:
        assert row[-1].startswith("not tested")
        return
    (recipe,) = re.findall(rf"^{command}:\n(.+)$", (ROOT / "Makefile").read_text(), re.M)
    kind = re.search(r"tools/environment.sh (\w+)", recipe)[1]
    (branch,) = re.findall(rf"^{kind}\)\n(.+?);;$", ENVIRONMENTS, re.M | re.S)
    assert f"$(wheels {row[0].lower()})" in branch


def test_python_versions_of_robots_are_those_of_ci():
    cells = [row[1] for row in ROWS if command_of(row) == "test-robot"]
    workflow = yaml.safe_load((ROOT / ".github/workflows/python.yml").read_text())
    assert (
        ", ".join(cells).split(", ") == workflow["jobs"]["robot"]["strategy"]["matrix"]["python"]
    )


def test_every_distribution_has_a_row_and_classifiers_name_tested_python_versions():
    assert {row[0] for row in ROWS} == {"Humble", "Jazzy", "Kilted", "Lyrical"}
    tested = {p for row in ROWS if command_of(row) for p in row[1].split(", ")}
    for folder in ("emu_core", "ros2_ws/src/emu_perception"):
        (minors,) = re.findall(
            r"for minor in range\((\d+), (\d+)\)", (ROOT / folder / "setup.py").read_text()
        )
        assert tested == {f"3.{minor}" for minor in range(*map(int, minors))}


def test_docker_arguments_for_another_distribution_fit_the_constraints():
    page = (ROOT / "docs/docker.md").read_text("utf-8")
    (pinned,) = re.findall(r"lyrical-ros-base-\w+ --build-arg ONNXRUNTIME=(\S+)`", page)
    assert f'{pinned}; python_version >= "3.14"' in (ROOT / "constraints-robot.txt").read_text()
    for name in ("desktop", "jetson"):
        text = (ROOT / f"docker/{name}.Dockerfile").read_text()
        assert re.findall(r"(?:/opt/ros/|\bros-)(?:humble|jazzy|kilted|lyrical)", text) == []
