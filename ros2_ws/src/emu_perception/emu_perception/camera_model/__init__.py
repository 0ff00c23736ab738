"""Metric scale of a lens, from its camera_info."""
