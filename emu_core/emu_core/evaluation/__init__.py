"""Scores trained methods against ground truth, and writes the paper's tables and plots.

- `splits`: what is scored, image by image, and which drive an image belongs to.
- `candidate`: one trained method as its files, single-task pairs included.
- `score`: a method on a split, in constant memory, drive by drive.
- `timing`, `disagreement`: milliseconds per image; how much an ensemble's members differ.
- `store`: what is on disk already, so that nothing is scored twice.
- `values`: mean, spread over seeds and interval over drives of every figure.
- `tables`, `plots`: CSV, JSON, Markdown and PNG.
"""
