"""Make data sets of folders (`kind: folder`) from recorded bags."""
