#!/bin/sh
# Run a command of an environment that tools/environment.sh made, with the ROS 2 that belongs to it:
# the sourced one, or, for environments with wheels of their own, none that shines through.
set -eu
python=$1
case $python in
*/demo-*) ;;
*) unset PYTHONPATH LD_LIBRARY_PATH AMENT_PREFIX_PATH || true ;;
esac
exec "$@"
