#!/bin/bash
# Run a command with ROS 2 and the package sourced; colcon's file sources the ROS it was built with.
set -e
source "${EMU_INSTALL:-/opt/emu/install}/setup.bash"
exec "$@"
