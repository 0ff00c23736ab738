"""Values that are fitted on frames after a training: calibration, and statistics of features."""
