"""Build networks from a configuration, and measure the data that their training starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from emu_core.data.augment import Augmentation, prepare
from emu_core.data.datasets import DataSet, evenly
from emu_core.data.mixture import Mixture
from emu_core.data.sample import Samples
from emu_core.labels import ClassTable
from emu_core.networks import (
    DepthFormer,
    Network,
    SegDepthFormer,
    SegFormer,
    load_hugging_face,
    load_model,
)
from emu_core.networks.exported import SUFFIX, load_exported, settle_norms
from emu_core.networks.weights import is_own_model
from emu_core.runtime.model_file import read_info
from emu_core.training.config import Architecture

_DEPTH_FRAMES = 64  # on which the first depth is measured
_LABEL_FRAMES = 400  # on which the shares of the classes are measured


def build_network(
    architecture: Architecture, classes: ClassTable, samples: Samples, augmentation: Augmentation
) -> Network:
    """Build a network and load the weights that it starts from.

    Args:
        architecture: Kind of network, rates, and files of weights.
        classes: Class table of the network.
        samples: Training frames. They initialise the depth head and BatchNorm if no file does.
        augmentation: How frames become network input.

    Raises:
        WeightsError: A file of weights is missing, damaged or of another kind.
        ValueError: The weights are of another variant, or no frame has depth.
    """
    variant, init = architecture.variant, architecture.init
    names = ("dropout", "encoder_dropout", "drop_path", "evidential")
    rates = {name: getattr(architecture, name) for name in names}
    if architecture.task == "depth":
        network: Network = DepthFormer(variant, **rates)
    else:
        kind = SegFormer if architecture.task == "segmentation" else SegDepthFormer
        network = kind(variant, len(classes), **rates)
    loaded: tuple[str, ...] = ()
    if architecture.encoder is not None:
        weights = architecture.encoder.replace("{variant}", variant)
        if is_own_model(weights):
            _copy_encoder(network, load_model(weights)[0], weights)
        else:
            load_hugging_face(network, weights, encoder_only=True)
    if init is not None:
        loaded = _load_weights(network, init, classes)
        if init.suffix == SUFFIX:  # BatchNorm is folded in model files
            indices = evenly(len(samples), _DEPTH_FRAMES)
            images = (prepare(samples[i], augmentation).image for i in indices)
            batches = (torch.from_numpy(x.transpose(2, 0, 1).copy())[None] for x in images)
            settle_norms(network, batches)
    if network.depth_decoder is not None and "depth_decoder" not in loaded:
        init_depth_head(network, architecture, samples, augmentation)
    return network


def init_depth_head(
    network: Network, architecture: Architecture, samples: Samples, augmentation: Augmentation
) -> None:
    """Set the depth head's first outputs to the mean and standard deviation of the data's depth.

    Raises:
        ValueError: No measured frame has a valid depth.
    """
    mean, std = architecture.depth_mean, architecture.depth_std
    if mean is None or std is None:
        frames = samples.with_depth() if isinstance(samples, Mixture) else range(len(samples))
        indices = [frames[i] for i in evenly(len(frames), _DEPTH_FRAMES)]
        depth = np.concatenate(
            [np.empty(0), *(prepare(samples[i], augmentation).depth.ravel() for i in indices)]
        )
        valid = depth[np.isfinite(depth)]
        if valid.size == 0:
            raise ValueError(f"None of {len(indices)} training frames has a valid depth.")
        mean, std = mean or float(valid.mean()), std or float(valid.std())
    network.init_depth(mean, std)


def _load_weights(network: Network, weights: Path, classes: ClassTable) -> tuple[str, ...]:
    """Load the encoder and the decoders that network and file have; return their names.

    The last layer of the segmentation decoder is only loaded if the file has the same classes.
    """
    if weights.suffix == SUFFIX:
        other: Network = load_exported(weights)
        known = read_info(weights).classes.names
    else:
        other, metadata = load_model(weights)
        known = metadata.get("learned", {}).get("classes")  # older files do not have it
    both = [
        name
        for name in ("segmentation_decoder", "depth_decoder")
        if getattr(network, name) is not None and getattr(other, name) is not None
    ]
    _copy_encoder(network, other, weights)
    same = other.num_classes == len(classes) and tuple(known or classes.names) == classes.names
    for name in both:
        decoder, state = getattr(network, name), getattr(other, name).state_dict()
        if name == "segmentation_decoder" and not same:
            own = decoder.state_dict()
            state |= {key: own[key] for key in own if key.startswith("head.")}
            rank_zero_only(print)(
                f"{weights} has other classes: the last layer of the segmentation starts from "
                "random weights, all other layers from the file"
            )
        if name == "depth_decoder" and other.evidential != network.evidential:
            state |= {k: x for k, x in decoder.state_dict().items() if k.startswith("head.")}
        decoder.load_state_dict(state)
    if other.evidential != network.evidential:
        both.remove("depth_decoder")  # its last layer has other channels
    return tuple(both)


def _copy_encoder(network: Network, other: Network, weights: str | Path) -> None:
    if other.variant != network.variant:
        raise ValueError(
            f"{weights} holds a {other.variant} encoder, but this network is a "
            f"{network.variant}: set architecture.variant, or use other weights."
        )
    network.encoder.load_state_dict(other.encoder.state_dict())
    network.encoder.set_layer_norm_eps(other.encoder.layer_norm_eps)


def class_weights(samples: DataSet | Mixture, power: float) -> Tensor | None:
    """Compute class weights (C,): f^-power for a share f of the labels, mean 1 over pixels.

    Pixels of a set of classes count for its members in equal parts. A class that was not seen has
    the weight of the rarest class that was seen.

    Args:
        samples: Training frames; some of them, evenly spread, are read.
        power: 0 for no weights; the result is None then.

    Raises:
        ValueError: No measured frame has a labelled pixel.
    """
    if not power:
        return None
    classes = len(samples.classes)
    codes = np.zeros(256)
    frames: Sequence[int] = range(len(samples))
    sets: Sequence[Sequence[int]] = ()
    if isinstance(samples, Mixture):
        frames, sets = samples.with_labels(), samples.sets
    for i in evenly(len(frames), _LABEL_FRAMES):
        codes += np.bincount(samples[frames[i]].labels.ravel(), minlength=256)
    counts = codes[:classes]
    for code, members in enumerate(sets, classes):
        counts[list(members)] += codes[code] / len(members)
    if not counts.any():
        raise ValueError("No training frame that was read has a labelled pixel.")
    share = counts / counts.sum()
    seen = np.where(share > 0, share, share[share > 0].min())  # an unseen class: as the rarest
    weights = seen**-power
    return torch.tensor(weights / (share * weights).sum(), dtype=torch.float32)
