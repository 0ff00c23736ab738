"""Both packages have one version and build as wheels that a package index would accept."""

import re
import shutil
import sys
import zipfile
from email.parser import Parser

import pytest
import yaml
from run_command import ROOT, run_command

import emu_core

PACKAGES = {"emu_core": ROOT / "emu_core", "emu_perception": ROOT / "ros2_ws/src/emu_perception"}
INSTALLED_FILES = {
    "emu_core": ("emu_core/models/emu_b0_drives.onnx", "share/emu_core/package.xml"),
    "emu_perception": (
        "emu_perception/config/fastdds.xml",
        "share/emu_perception/launch/emu.launch.py",
        "share/emu_perception/rviz/emu.rviz",
    ),
}


def test_all_files_state_the_same_version():
    found = {"CITATION.cff": yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]}
    for name, folder in PACKAGES.items():
        for file, pattern in (
            ("setup.py", r'^    version="(.+)",$'),
            ("package.xml", r"<version>(.+)</version>"),
            (f"{name}/__init__.py", r'^__version__ = "(.+)"$'),
        ):
            (found[f"{name}: {file}"],) = re.findall(pattern, (folder / file).read_text(), re.M)
    assert set(found.values()) == {emu_core.__version__}, found


def test_the_changelog_begins_with_unreleased_changes_and_the_present_version():
    headings = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == emu_core.__version__
    assert all(re.fullmatch(r" - \d{4}-\d{2}-\d{2}", date) for _, date in headings[1:])


@pytest.fixture(scope="module", params=PACKAGES)
def wheel(request, tmp_path_factory):
    """A package's name and its wheel, built from its source distribution in a copied folder."""
    pytest.importorskip("build", reason="needs build: pip install build")
    folder = tmp_path_factory.mktemp(request.param)
    source, output = folder / "source", folder / "dist"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "test")
    shutil.copytree(PACKAGES[request.param], source, ignore=ignored)
    run_command(sys.executable, "-m", "build", "--no-isolation", "--outdir", output, source)
    (file,) = output.glob("*.whl")
    return request.param, file


def test_a_package_index_would_accept_both_distributions(wheel):
    pytest.importorskip("twine", reason="needs twine: pip install twine")
    files = sorted(wheel[1].parent.iterdir())
    assert [file.suffix for file in files] == [".whl", ".gz"]
    run_command(sys.executable, "-m", "twine", "check", "--strict", *files)


def test_the_wheel_holds_description_licence_and_data_files(wheel):
    name, file = wheel
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        information = f"{name}-{emu_core.__version__}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{information}/METADATA").decode())
        # Only emu_core holds weights, which learned from data sets of others.
        for legal in ["LICENSE", *["NOTICE"] * (name == "emu_core")]:
            (found,) = [n for n in names if n.startswith(information) and n.endswith(legal)]
            assert archive.read(found) == (ROOT / legal).read_bytes()
    assert metadata["Name"].replace("-", "_") == name
    assert metadata["Version"] == emu_core.__version__
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith(f"# {name}\n")
    for wanted in INSTALLED_FILES[name]:
        assert any(n.endswith(wanted) for n in names), wanted
