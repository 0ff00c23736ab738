"""The exception for mistakes of the user. It needs no package, so any module can import it."""


class UserError(Exception):
    """A mistake of the user's: told in one line on stderr, exit code 1."""
