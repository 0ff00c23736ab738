#!/bin/sh
# Make or update one of the project's Python environments and print its interpreter.
#
#   tools/environment.sh demo     what a robot needs, no torch; on a sourced ROS 2 or on wheels
#   tools/environment.sh test     everything: training, rendering, the node on wheels, test tools
#   tools/environment.sh robot    the node on what Jazzy and Humble robots have: NumPy 1, OpenCV 4
#
# Environments lie in .venvs/ and are only touched when a requirement changed. PYTHON names the
# interpreter (default: python3).
set -eu
cd "$(dirname "$0")/.."
kind=$1
python=${PYTHON:-python3}

say() { echo "$*" >&2; }
fail() { say "environment: $*"; exit 1; }

WHEELS="ros-jazzy-rclpy ros-jazzy-rmw-fastrtps-cpp ros-jazzy-common-interfaces
        ros-jazzy-lifecycle-msgs ros-jazzy-rcl-interfaces"
TESTS="pytest hypothesis ros-jazzy-domain-coordinator"
PACKAGES="-e ./emu_core[EXTRAS] -e ./ros2_ws/src/emu_perception"
packages() { echo "$PACKAGES" | sed "s/EXTRAS/$1/"; }

constraints=constraints.txt
options=
case $kind in
demo)
    if [ -n "${ROS_DISTRO:-}" ] && "$python" -c 'import rclpy' 2>/dev/null; then
        # The robot's own ROS: only what is missing, beside its NumPy 1 and OpenCV 4.
        say "using the sourced ROS 2 $ROS_DISTRO"
        name=demo-$ROS_DISTRO options=--system-site-packages constraints=constraints-robot.txt
        wanted="$(packages demo)"
        "$python" -c 'import cv2' 2>/dev/null && wanted="$(packages demo-ros)"
    else
        name=demo wanted="$(packages demo) $WHEELS"
    fi ;;
test) name=test wanted="$(packages train,render,demo,openvino,test) $TESTS pytest-xdist $WHEELS" ;;
robot) name=robot constraints=constraints-robot.txt
    wanted="$(packages demo,export) $TESTS $WHEELS cv-bridge" ;;
*) fail "unknown environment '$kind': demo, test or robot" ;;
esac

if [ -z "$options" ]; then
    # A sourced ROS would shine through into the wheels.
    unset PYTHONPATH LD_LIBRARY_PATH AMENT_PREFIX_PATH || true
    "$python" - <<'EOF' || fail "set PYTHON to another interpreter, or source a ROS 2 and run again"
import platform, sys
if not (3, 10) <= sys.version_info[:2] <= (3, 13) or platform.machine() != "x86_64" or sys.platform != "linux":
    sys.exit(f"ROS 2 comes as wheels for Linux, x86-64, CPython 3.10 to 3.13 only; this is "
             f"{platform.system()}, {platform.machine()}, {platform.python_version()}.")
EOF
fi

venv=.venvs/$name
made=$venv/.made
state=$(cat "$constraints" tools/environment.sh emu_core/setup.py ros2_ws/src/emu_perception/setup.py | cksum)
if [ ! -f "$made" ] || [ "$(cat "$made")" != "$state $wanted" ]; then
    "$python" -c 'import ensurepip' 2>/dev/null ||
        fail "$python has no venv module. On Debian and Ubuntu: sudo apt install python3-venv"
    mkdir -p .venvs && touch .venvs/COLCON_IGNORE
    say "installing into $venv (takes a minute or two, once)"
    begin=$(date +%s)
    rm -f "$made"
    [ -x "$venv/bin/python" ] || "$python" -m venv $options "$venv"
    # shellcheck disable=SC2086
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check \
        --constraint "$constraints" $wanted >&2 || fail "installing into $venv failed, see above"
    echo "$state $wanted" > "$made"
    say "installed in $(($(date +%s) - begin)) s"
fi
echo "$venv/bin/python"
