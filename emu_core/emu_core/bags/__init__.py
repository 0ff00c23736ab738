"""Read and write rosbag2 bags without ROS."""
