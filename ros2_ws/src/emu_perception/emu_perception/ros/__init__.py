"""What the programs share that is specific to ROS: parameters, DDS, distributions, processes."""
