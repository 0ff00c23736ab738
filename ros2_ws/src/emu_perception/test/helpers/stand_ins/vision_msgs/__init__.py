"""A stand-in for vision_msgs, which has no wheel: see `msg`."""
