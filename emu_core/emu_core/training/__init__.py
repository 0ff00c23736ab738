"""Lightning modules and data loading for training."""
