"""Methods that predict classes, depth and their uncertainties from images.

Importing this package registers the methods below in `registry.METHODS`. A new method in this
project needs one module here and one import line.
"""

import emu_core.methods.calibrated
import emu_core.methods.deep_ensemble
import emu_core.methods.evidential
import emu_core.methods.feature_scores
import emu_core.methods.laplace
import emu_core.methods.mc_dropout
import emu_core.methods.scores
import emu_core.methods.single
import emu_core.methods.sub_ensemble
import emu_core.methods.test_time_augmentation  # noqa: F401
