"""What all commands use of ROS: command lines, processes, DDS, distributions, launch files."""
