"""Build networks from a configuration, and measure what their training starts from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emu_core.data.augment import Augmentation, prepare
from emu_core.data.datasets import DataSet, evenly
from emu_core.data.sample import Samples
from emu_core.networks import (
    DepthFormer,
    Network,
    SegDepthFormer,
    SegFormer,
    load_hugging_face,
    load_model,
)
from emu_core.networks.exported import SUFFIX, load_exported, settle_norms
from emu_core.training.config import Architecture

_LOOKED_AT = 64
"""Frames whose depth sets the depth head's first answer."""

_COUNTED = 400
"""Frames whose labels say how rare a class is."""


def build_network(
    architecture: Architecture, num_classes: int, samples: Samples, augmentation: Augmentation
) -> Network:
    """Build a network and load the weights that it starts from.

    Args:
        architecture: kind of network, rates, and files of weights.
        num_classes: C of the data set.
        samples: training frames, which settle the depth head and BatchNorm where no file does.
        augmentation: how frames become network input.

    Raises:
        WeightsError: a file of weights is missing, damaged or of another kind.
        ValueError: the weights are of another variant or of other classes, or no frame has depth.
    """
    rates = {
        "dropout": architecture.dropout,
        "encoder_dropout": architecture.encoder_dropout,
        "drop_path": architecture.drop_path,
    }
    variant = architecture.variant
    if architecture.task == "segmentation":
        network: Network = SegFormer(variant, num_classes, **rates)
    elif architecture.task == "depth":
        network = DepthFormer(variant, **rates)
    else:
        network = SegDepthFormer(variant, num_classes, **rates)
    loaded: tuple[str, ...] = ()
    if architecture.encoder is not None:
        load_encoder(network, architecture.encoder.replace("{variant}", variant))
    if architecture.init is not None:
        loaded = load_weights(network, architecture.init)
        if architecture.init.suffix == SUFFIX:
            settle_norms(network, _images(samples, augmentation))
    if network.depth_decoder is not None and "depth_decoder" not in loaded:
        init_depth_head(network, architecture, samples, augmentation)
    return network


def init_depth_head(
    network: Network, architecture: Architecture, samples: Samples, augmentation: Augmentation
) -> None:
    """Set the depth head's first outputs to the mean and deviation of the data's depth."""
    mean, std = architecture.depth_mean, architecture.depth_std
    if mean is None or std is None:
        measured = depth_statistics(samples, augmentation)
        mean, std = mean or measured[0], std or measured[1]
    network.init_depth(mean, std)


def load_encoder(network: Network, weights: str) -> None:
    """Load an encoder's weights from a file of this project or in Hugging Face's format.

    Raises:
        WeightsError: there are no such weights, or they are of another kind.
        ValueError: they are of another variant.
    """
    if weights.endswith(".safetensors"):
        _take_encoder(network, load_model(weights)[0], weights)
    else:
        load_hugging_face(network, weights, encoder_only=True)


def load_weights(network: Network, weights: str | Path) -> tuple[str, ...]:
    """Load the encoder and the decoders that both have from a file of this project.

    Returns:
        Names of the decoders that were loaded.

    Raises:
        WeightsError: there is no such model.
        ValueError: it is of another variant or of other classes.
    """
    exported = Path(weights).suffix == SUFFIX
    other = load_exported(weights) if exported else load_model(weights)[0]
    both = [
        name
        for name in ("segmentation_decoder", "depth_decoder")
        if getattr(network, name) is not None and getattr(other, name) is not None
    ]
    if "segmentation_decoder" in both and other.num_classes != network.num_classes:
        raise ValueError(
            f"{weights} knows {other.num_classes} classes, but the data has "
            f"{network.num_classes}: take its encoder alone, with architecture.encoder."
        )
    _take_encoder(network, other, weights)
    for name in both:
        getattr(network, name).load_state_dict(getattr(other, name).state_dict())
    return tuple(both)


def _take_encoder(network: Network, other: Network, weights: str | Path) -> None:
    if other.variant != network.variant:
        raise ValueError(
            f"{weights} holds a {other.variant} encoder, but this network is a "
            f"{network.variant}: set architecture.variant, or take other weights."
        )
    network.encoder.load_state_dict(other.encoder.state_dict())
    network.encoder.set_layer_norm_eps(other.encoder.layer_norm_eps)


def depth_statistics(samples: Samples, augmentation: Augmentation) -> tuple[float, float]:
    """Mean and deviation of depth as the network sees it, canonical metres.

    Raises:
        ValueError: none of the frames that were looked at has a valid depth.
    """
    depths = [
        ready.depth[np.isfinite(ready.depth)]
        for ready in (prepare(samples[i], augmentation) for i in evenly(len(samples), _LOOKED_AT))
    ]
    valid = np.concatenate(depths) if depths else np.empty(0)
    if valid.size == 0:
        raise ValueError("No training frame that was looked at has a valid depth.")
    return float(valid.mean()), float(valid.std())


def _images(samples: Samples, augmentation: Augmentation) -> Iterator[Tensor]:
    """The images that were looked at, as the network sees them, one by one."""
    for i in evenly(len(samples), _LOOKED_AT):
        image = prepare(samples[i], augmentation).image
        yield torch.from_numpy(image.transpose(2, 0, 1).copy())[None]


def class_weights(samples: DataSet, power: float) -> Tensor | None:
    """Weights (C,) of the classes, f^-power for a share f of the labels, 1 in the mean of pixels.

    Args:
        samples: some of them, evenly spread, are looked at.
        power: 0 for none, which gives None.

    Raises:
        ValueError: none of the frames that were looked at has a labelled pixel.
    """
    if not power:
        return None
    classes = len(samples.classes)
    counts = np.zeros(classes)
    for i in evenly(len(samples), _COUNTED):
        counts += np.bincount(samples[i].labels.ravel(), minlength=256)[:classes]
    if not counts.any():
        raise ValueError("No training frame that was looked at has a labelled pixel.")
    share = counts / counts.sum()
    weights = (np.maximum(counts, 1) / counts.sum()) ** -power  # finite for absent classes
    return torch.tensor(weights / (share * weights).sum(), dtype=torch.float32)
