"""Changes of a model file's graph when it is loaded; the file itself stays as it is."""
