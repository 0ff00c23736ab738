"""Exception for reading and writing bags, in a module without imports."""


class BagError(ValueError):
    """A bag cannot be read or written. The message names the file, the problem and a remedy."""
