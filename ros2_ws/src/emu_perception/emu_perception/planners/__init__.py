"""What planners consume: obstacles, ground, free space. Imports no ROS."""
