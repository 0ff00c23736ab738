"""Helpers that the tests of the ROS package share."""
