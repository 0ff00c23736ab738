"""Packaging of emu_perception for colcon (ament_python) and for pip."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.develop import develop

NAME = "emu_perception"
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
    """What `colcon build --symlink-install` runs.

    It writes the interpreter that ran colcon into the programs, whatever setup.cfg says of
    build_scripts; a virtual environment's onnxruntime would be missed.
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
    description="One camera in; classes, metres and trust out: the ROS 2 node of EMU",
    license="Apache-2.0",
    author="The EMU developers",
    maintainer="The EMU developers",
    maintainer_email="emu-maintainers@example.com",
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
    # What tells colcon to test with pytest: unittest, its other choice, finds no test here.
    extras_require={"test": ["pytest"]},
    entry_points={
        "console_scripts": [f"{name} = {NAME}.{module}:main" for name, module in PROGRAMS.items()],
    },
    cmdclass={"develop": Develop},
    zip_safe=False,
)
