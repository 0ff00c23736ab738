"""Scores trained methods against ground truth, and writes the paper's tables and plots.

- `splits`: images with ground truth, and the drive that each image belongs to.
- `candidate`: one trained method as its files, and its scores on disk.
- `score`: scores of a method on a split, drive by drive.
- `timing`: milliseconds per image.
- `values`: mean, spread over seeds and interval over drives of every metric, as one table.
- `tables`, `plots`: the metrics that are shown, in Markdown and PNG.
- `report`: all of this for several methods.
"""
