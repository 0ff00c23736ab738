"""Data sets on disk, and the joint augmentation of image, labels and depth. No torch needed."""
