"""The program that records frames with high uncertainty."""
