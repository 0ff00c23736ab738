"""ROS 2 node and tools: classes, metric depth and their uncertainties from one camera."""

__version__ = "0.1.0"
