#!/bin/sh
# Run a command with the Python of an environment from tools/environment.sh:
#
#   tools/on_ros.sh .venvs/test/bin/python -m pytest
#
# An environment with ROS 2 wheels must not see a sourced ROS 2. An environment for a sourced ROS 2
# (.venvs/demo-DISTRO) needs it.
set -eu
case $1 in
*/demo-*) ;;
*) unset PYTHONPATH LD_LIBRARY_PATH AMENT_PREFIX_PATH || true ;;
esac
exec "$@"
