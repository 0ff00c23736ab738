"""Programs that play, record and write bags without rosbag2."""
