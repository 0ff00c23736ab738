"""Data sets on disk, and the joint augmentation of image, labels and depth. Needs no torch.

Importing this package registers the data sets below in `datasets.DATASETS`. A new data set in this
project needs one module here and one import line. Outside it, name its file in EMU_PLUGINS.
"""

import emu_core.data.cityscapes
import emu_core.data.drives
import emu_core.data.folder
import emu_core.data.nyuv2  # noqa: F401
