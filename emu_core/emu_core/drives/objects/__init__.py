"""Objects of the rendered streets: their shapes and textures."""
