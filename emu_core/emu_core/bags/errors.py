"""The exception of reading and writing bags; it needs no package, so anybody can catch it."""


class BagError(ValueError):
    """A bag cannot be read or written: what is wrong, where, and what to do."""
