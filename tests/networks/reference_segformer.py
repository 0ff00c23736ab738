"""Hugging Face's SegFormer with random parameters: the reference for our networks."""

import torch
from transformers import (
    SegformerConfig,
    SegformerForImageClassification,
    SegformerForSemanticSegmentation,
    SegformerModel,
)
from transformers.utils import logging

logging.disable_progress_bar()

# From the SegFormer paper's table 6, not from our code.
SMALL, LARGE = (32, 64, 160, 256), (64, 128, 320, 512)
SIZES = {
    "b0": (SMALL, (2, 2, 2, 2), 256),
    "b1": (LARGE, (2, 2, 2, 2), 256),
    "b2": (LARGE, (3, 4, 6, 3), 768),
    "b3": (LARGE, (3, 4, 18, 3), 768),
    "b4": (LARGE, (3, 8, 27, 3), 768),
    "b5": (LARGE, (3, 6, 40, 3), 768),
}
CLASSES = {
    "segmentation": SegformerForSemanticSegmentation,
    "classification": SegformerForImageClassification,
    "bare": SegformerModel,
}


def make(variant="b0", kind="segmentation", num_labels=19, seed=0):
    """Build a model in eval mode; no parameter, norm or statistic has its default value."""
    widths, depths, decoder = SIZES[variant]
    config = SegformerConfig(
        hidden_sizes=widths, depths=depths, decoder_hidden_size=decoder, num_labels=num_labels
    )
    with torch.device("meta"):  # skips an initialisation that takes seconds for B5
        model = CLASSES[kind](config)
    model = model.to_empty(device="cpu").eval()
    randomize(model.state_dict(), seed)
    return model


@torch.no_grad()
def randomize(tensors, seed=0):
    """Fill a state dict so that activations are near 1 and every tensor has an effect."""
    generator = torch.Generator().manual_seed(seed)
    for name, x in tensors.items():
        if name.endswith("num_batches_tracked"):
            x.fill_(7)
        elif name.endswith("running_var"):
            x.uniform_(0.5, 2.0, generator=generator)
        elif x.ndim == 1:
            x.normal_(0.0, 0.2, generator=generator)
            if "norm" in name and name.endswith("weight"):
                x.add_(1.0)
        else:
            x.normal_(0.0, x[0].numel() ** -0.5, generator=generator)


def image(height=64, width=96, batch=1, seed=1):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def logits(model, x):
    return model(pixel_values=x).logits
