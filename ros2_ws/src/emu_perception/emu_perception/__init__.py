"""The ROS 2 side of EMU: one camera in; classes, metres and trust out."""
