"""Readers that follow the rules of planners, as read in their sources."""
