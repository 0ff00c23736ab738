"""The one error of rendering, in a module that imports without MuJoCo."""


class RenderingError(RuntimeError):
    """Drives cannot be rendered here; the message says what is missing and what to do."""
