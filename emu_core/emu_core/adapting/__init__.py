"""Other people's ONNX networks as model files of this project; `training/adapt.py` uses it."""
