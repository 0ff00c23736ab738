"""The networks of EMUFormer (arXiv 2402.10580): SegFormer, DepthFormer and SegDepthFormer.

    network = SegDepthFormer("b0", num_classes=19)
    load_hugging_face(network, "nvidia/mit-b0")        # ImageNet encoder, non-commercial licence
    raw = network(normalize(rgb_uint8))                # logits and depth at H/4 × W/4
    prediction = to_prediction(raw, size=(512, 1024))  # emu_core.methods.prediction

`encoder` is the Mix Transformer, `decoder` the all-MLP decoder, `models` combines them, `weights`
reads and writes their files, `hugging_face` and `exported` read other files.
"""

from emu_core.networks.hugging_face import load_hugging_face
from emu_core.networks.models import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    DepthFormer,
    Network,
    RawOutputs,
    SegDepthFormer,
    SegFormer,
    normalize,
)
from emu_core.networks.weights import WeightsError, load_model, save_model

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "DepthFormer",
    "Network",
    "RawOutputs",
    "SegDepthFormer",
    "SegFormer",
    "WeightsError",
    "load_hugging_face",
    "load_model",
    "normalize",
    "save_model",
]
