"""Run a model file on images, without torch or ROS."""
