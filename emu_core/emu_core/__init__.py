"""Semantic segmentation, metric depth and their uncertainties from one camera (EMUFormer).

The folders `runtime`, `bags`, `data`, `metrics` and `registry` are for robots and for training.
They need neither torch nor ROS. All other folders are for training and need torch.
"""

from emu_core.privacy import keep_private

__version__ = "0.1.0"

keep_private()
