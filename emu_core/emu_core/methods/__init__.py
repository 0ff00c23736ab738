"""Methods that predict classes, depth and their uncertainties from images."""
