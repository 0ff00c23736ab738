"""The exception for user mistakes. It imports nothing, so that every module can use it."""


class UserError(Exception):
    """A mistake of the user. Commands print it as one line on stderr and exit with code 1."""
