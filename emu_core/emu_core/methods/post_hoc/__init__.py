"""Methods that use trained networks as they are: scores, calibration, and fitted statistics."""
