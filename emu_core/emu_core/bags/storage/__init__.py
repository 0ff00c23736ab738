"""Data files of bags: find, open and read them in the order of time."""
