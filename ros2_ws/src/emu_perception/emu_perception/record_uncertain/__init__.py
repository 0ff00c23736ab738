"""The program that records the seconds around uncertain frames."""
