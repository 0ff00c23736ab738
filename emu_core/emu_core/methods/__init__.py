"""Methods that predict classes, depth and their uncertainties from images.

Importing this package registers the methods below in `registry.METHODS`. A new method in this
project is one module here and one import line.
"""

import emu_core.methods.ensembles  # noqa: F401
