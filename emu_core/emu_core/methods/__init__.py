"""Methods that predict classes, depth and their uncertainties from images.

Importing this package registers the methods below in `registry.METHODS`. A new method in this
project needs one module here and one import line.
"""

import emu_core.methods.deep_ensemble
import emu_core.methods.evidential
import emu_core.methods.mc_dropout
import emu_core.methods.post_hoc.calibrated
import emu_core.methods.post_hoc.feature_scores
import emu_core.methods.post_hoc.laplace
import emu_core.methods.post_hoc.scores
import emu_core.methods.post_hoc.test_time_augmentation
import emu_core.methods.single
import emu_core.methods.sub_ensemble  # noqa: F401
