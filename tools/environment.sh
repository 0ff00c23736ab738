#!/bin/sh
# Create or update one of the Python environments of this project and print the path of its Python.
#
#   tools/environment.sh demo     what a robot needs (no torch), on a sourced ROS 2 or on ROS 2 wheels
#   tools/environment.sh test     everything: training, rendering, the node on wheels, test tools
#   tools/environment.sh robot    the node with NumPy 1 and OpenCV 4, as on Jazzy and Humble robots
#   tools/environment.sh kilted   the node on ROS 2 Kilted with NumPy 2 and OpenCV 5
#   tools/environment.sh annotation   the exchange with annotation tools (no torch, no ROS 2)
#   tools/environment.sh web      predictions in files and on a page in a browser (no torch, no ROS 2)
#   tools/environment.sh gpu      training and ONNX Runtime on an NVIDIA GPU; uses the PyTorch that is there
#
# The environments are in .venvs/. This script installs packages only after a requirement changed.
# PYTHON=python3.12 chooses the Python interpreter (default: python3).
set -eu
cd "$(dirname "$0")/.."
kind=${1:-}
python=${PYTHON:-python3}

log() { echo "environment: $*" >&2; }
fail() { log "$*"; exit 1; }

wheels() { for name in rclpy rmw-fastrtps-cpp common-interfaces lifecycle-msgs rcl-interfaces; do echo "ros-$1-$name"; done; }
TESTS="pytest pytest-xdist hypothesis ros-jazzy-domain-coordinator" # there is none of Kilted
packages() { echo "-e ./emu_core[$1] -e ./ros2_ws/src/emu_perception"; }

command -v "$python" >/dev/null || fail "there is no program '$python'; set PYTHON to a Python 3.10 to 3.13"

constraints=constraints.txt
options=
case $kind in
demo)
    if [ -n "${ROS_DISTRO:-}" ] && "$python" -c 'import rclpy' 2>/dev/null; then
        # Use the ROS 2 of the robot with its NumPy 1 and OpenCV 4; install only what is missing.
        log "using the sourced ROS 2 $ROS_DISTRO"
        name=demo-$ROS_DISTRO options=--system-site-packages constraints=constraints-robot.txt
        requirements=$(packages demo)
        if "$python" -c 'import cv2' 2>/dev/null; then requirements=$(packages demo-ros); fi
    else
        name=demo requirements="$(packages demo) $(wheels jazzy)"
    fi ;;
test)
    name=test
    requirements="$(packages train,render,demo,openvino,study,test) $TESTS $(wheels jazzy)" ;;
robot)
    name=robot constraints=constraints-robot.txt
    requirements="$(packages demo,export) $TESTS $(wheels jazzy) cv-bridge" ;;
kilted)
    name=kilted requirements="$(packages demo,export) $TESTS $(wheels kilted)" ;;
annotation)
    name=annotation constraints=constraints-annotation.txt
    requirements="-e ./emu_core[annotation] pytest" ;;
web)
    name=web
    requirements="-e ./emu_core[web,export] pytest playwright" ;;
gpu)
    # The machine's own PyTorch fits its driver; without one, pip's has CUDA, too.
    name=gpu options=--system-site-packages constraints=/dev/null
    requirements="-e ./emu_core[train,render] transformers" ;;
*) fail "expected demo, test, robot, kilted, annotation, web or gpu, but got '$kind'" ;;
esac

if [ -z "$options" ]; then
    # Without this, Python would find the packages of a sourced ROS 2 before the wheels.
    unset PYTHONPATH LD_LIBRARY_PATH AMENT_PREFIX_PATH || true
    "$python" - <<'CHECK' || fail "set PYTHON to another interpreter, or source ROS 2 and run this again"
import platform, sys
if not (3, 10) <= sys.version_info[:2] <= (3, 13) or platform.machine() != "x86_64" or sys.platform != "linux":
    sys.exit("This was tested only on Linux on x86-64 with CPython 3.10 to 3.13, but this is "
             f"{platform.system()} on {platform.machine()} with Python {platform.python_version()}.")
CHECK
fi

venv=.venvs/$name
stamp=$venv/.made
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
files=$(cat "$constraints" tools/environment.sh emu_core/setup.py ros2_ws/src/emu_perception/setup.py | cksum)
state="$version $files $requirements"
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$state" ]; then
    "$python" -c 'import ensurepip' 2>/dev/null ||
        fail "$python has no module venv. On Debian and Ubuntu: sudo apt install python3-venv"
    mkdir -p .venvs
    touch .venvs/COLCON_IGNORE
    log "installing packages into $venv (this takes a few minutes the first time)"
    begin=$(date +%s)
    rm -f "$stamp"
    found=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)
    if [ "$found" != "$version" ]; then
        # There is none yet, it is damaged, or it was made with another Python version.
        # shellcheck disable=SC2086
        "$python" -m venv --clear $options "$venv" || fail "cannot create $venv with $python"
        # The pip of older Python versions needs very long to resolve the versions.
        "$venv/bin/python" -m pip install -qq --disable-pip-version-check --upgrade pip >&2 ||
            fail "cannot update pip in $venv; its messages are above"
    fi
    # shellcheck disable=SC2086
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check \
        --constraint "$constraints" $requirements >&2 ||
        fail "pip could not install the packages into $venv; its messages are above"
    if [ "$kind" = gpu ]; then
        # Both packages have the same module; the one for the CPU must not stay beside the other.
        "$venv/bin/python" -m pip uninstall -qq -y onnxruntime >&2 || true
        "$venv/bin/python" -m pip install -qq --disable-pip-version-check --force-reinstall \
            --no-deps onnxruntime-gpu >&2 || fail "pip could not install onnxruntime-gpu"
    fi
    echo "$state" > "$stamp"
    log "finished after $(($(date +%s) - begin)) s"
fi
echo "$venv/bin/python"
