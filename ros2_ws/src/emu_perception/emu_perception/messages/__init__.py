"""Convert between ROS messages and arrays."""
