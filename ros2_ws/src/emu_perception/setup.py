"""Packaging of emu_perception for colcon (ament_python) and for pip."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.develop import develop

NAME = "emu_perception"
# Real path: `colcon build --symlink-install` runs this file through a link.
README = Path(__file__).resolve().with_name("README.md")
PROGRAMS = {
    "emu_node": "node.main",
    "player": "bag_tools.player",
    "recorder": "bag_tools.recorder",
    "demo": "demo.main",
    "drive_to_bag": "bag_tools.drive_to_bag",
    "record_uncertain": "record_uncertain.main",
    "build_engine": "build_engine",
}


class Develop(develop):
    """The command that `colcon build --symlink-install` runs.

    It ignores `build_scripts` in setup.cfg and writes the interpreter that runs colcon into the
    programs. They would then not find the onnxruntime of a virtual environment. So replace it.
    """

    def run(self):
        super().run()
        for program in PROGRAMS:
            script = Path(self.script_dir or ".", program)
            if script.is_file():
                _, newline, rest = script.read_text().partition("\n")
                script.write_text(f"#!/usr/bin/env python3{newline}{rest}")


setup(
    name=NAME,
    version="0.1.0",
    description="ROS 2 node: semantic segmentation, metric depth and their uncertainties from "
    "one camera",
    long_description=README.read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="The EMU developers",
    maintainer="The EMU developers",
    maintainer_email="emu-maintainers@example.com",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["config/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/config", glob(f"{NAME}/config/*")),
        (f"share/{NAME}/launch", glob("launch/*.launch.py")),
        (f"share/{NAME}/rviz", glob("rviz/*.rviz")),
    ],
    install_requires=["emu_core"],
    # This extra makes colcon run the tests with pytest. Its default, unittest, finds none.
    extras_require={"test": ["pytest"]},
    entry_points={
        "console_scripts": [f"{name} = {NAME}.{module}:main" for name, module in PROGRAMS.items()],
    },
    cmdclass={"develop": Develop},
    zip_safe=False,
)
