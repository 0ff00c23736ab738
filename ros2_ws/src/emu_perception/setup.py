"""Packaging of emu_perception for colcon (ament_python) and for pip."""

from glob import glob

from setuptools import find_packages, setup

NAME = "emu_perception"

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
    ],
    install_requires=["emu_core"],
    extras_require={"bags": ["rosbags"], "demo": ["rosbags", "av", "matplotlib"]},
    entry_points={
        "console_scripts": [
            f"emu_node = {NAME}.node:main",
            f"player = {NAME}.player:main",
            f"recorder = {NAME}.recorder:main",
        ]
    },
    zip_safe=False,
)
