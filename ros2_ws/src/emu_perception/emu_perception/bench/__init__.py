"""Benchmarks of the node over ROS."""
