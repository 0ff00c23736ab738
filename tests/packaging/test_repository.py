"""The documentation builds without warnings; files for GitHub and citations match their schema."""

import re
import sys

import pytest
import yaml
from run_command import ROOT, run_command

TEMPLATES = ".github/ISSUE_TEMPLATE"


def test_the_documentation_builds_and_every_link_has_a_target(tmp_path):
    pytest.importorskip("mkdocs", reason="needs mkdocs: pip install mkdocs")
    mkdocs = (sys.executable, "-m", "mkdocs")
    run_command(*mkdocs, "build", "--strict", "--quiet", "--site-dir", tmp_path)
    for page in ("index.html", "node/index.html", "contributing/index.html"):
        assert (tmp_path / page).is_file(), page


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", ".github/workflows/*.yml"),
        ("github-issue-forms", f"{TEMPLATES}/[!c]*.yml"),
        ("github-issue-config", f"{TEMPLATES}/config.yml"),
        ("citation-file-format", "CITATION.cff"),
    ],
)
def test_a_file_for_github_follows_its_schema(schema, files):
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema")
    paths = sorted(ROOT.glob(files))
    assert paths
    options = ("--builtin-schema", f"vendor.{schema}", "--force-filetype", "yaml")
    run_command(sys.executable, "-m", "check_jsonschema", *options, *paths)


def test_commands_in_workflows_exist():
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for command in (step["run"] for step in job["steps"] if "run" in step):
                program, _, target = command.partition(" ")
                if program == "make":
                    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
                else:
                    assert (ROOT / program).is_file()


def test_tests_that_the_makefile_names_exist():
    commands = run_command(
        "make",
        "--dry-run",
        *(f"test-{each}" for each in ("all", "robot", "kilted", "annotation", "web", "long")),
    )
    named = re.findall(r"(?<= )(?:tests|ros2_ws)[^ \n]*", commands)
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_python_versions_are_the_same_in_workflow_and_packages():
    workflow = yaml.safe_load((ROOT / ".github/workflows/python.yml").read_text())
    assert workflow["jobs"]["robot"]["strategy"]["matrix"]["python"] == [
        f"3.{minor}" for minor in range(10, 14)
    ]
    for folder in ("emu_core", "ros2_ws/src/emu_perception"):
        text = (ROOT / folder / "setup.py").read_text()
        assert 'python_requires=">=3.10"' in text
        assert "range(10, 14)" in text


def test_pre_commit_uses_the_ruff_of_the_constraints():
    (pinned,) = re.findall(r"^ruff==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (ruff,) = [repository for repository in hooks if "ruff" in repository["repo"]]
    assert ruff["rev"] == f"v{pinned}"


def test_pip_is_used_in_virtual_environments_alone():
    """Ubuntu and Debian refuse to install into their Python (PEP 668)."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    blocks = [b for p in pages for b in p.read_text("utf-8").split("```")[1::2]]
    installing = [block for block in blocks if re.search(r"^pip install", block, re.MULTILINE)]
    assert len(installing) > 4
    assert [b for b in installing if "bin/activate" not in b.partition("pip install")[0]] == []
