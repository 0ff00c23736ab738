"""Predict pictures, folders, videos and cameras without ROS, and write the results as files."""
