#!/bin/bash
# Run a command with the package sourced. The file from colcon also sources ROS 2.
set -e
source "${EMU_INSTALL:-/opt/emu/install}/setup.bash"
exec "$@"
