"""EMUFormer: semantic classes, metric depth and the uncertainty of both from one camera.

Modules a robot uses (NumPy, OpenCV, ONNX Runtime; no torch, no ROS): `labels`, `model_file`,
`perceiver`, `overlay`, `bags`, `metrics`. Everything else is for training and needs torch.
"""

__version__ = "0.1.0"
