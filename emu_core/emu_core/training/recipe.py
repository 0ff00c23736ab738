"""What a configuration says of data and network, and how to build them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from emu_core.data.augment import Augmentation, prepare
from emu_core.data.datasets import VALIDATION_SPLITS, Kind, evenly, open_dataset
from emu_core.data.decoded import Decoded
from emu_core.data.sample import DataSet, Samples
from emu_core.networks import (
    DepthFormer,
    Network,
    SegDepthFormer,
    SegFormer,
    load_hugging_face,
    load_model,
)
from emu_core.networks.exported import SUFFIX, load_exported, settle_norms

Task = Literal["joint", "segmentation", "depth"]

_LOOKED_AT = 64
"""Frames whose depth sets the depth head's first answer."""

_COUNTED = 400
"""Frames whose labels say how rare a class is."""


@dataclass(frozen=True)
class Data:
    """Where the data lies and how it becomes network input.

    Args:
        kind: cityscapes, nyuv2 or drives.
        root: its folder.
        max_depth: farther ground truth is invalid, metres; null for the kind's default.
        limit: train on at most so many frames.
        sequences: train on at most so many sequences.
        augmentation: size, canonical focal length and random augmentation.
        variants: how many augmentations of each frame there are; null: new ones every epoch.
        validation_size: (height, width) of whole images, where the network trains on crops of
            images resized to `augmentation.image_width`.
        batch: images per step, of all processes together.
        workers: processes that load images.
        cache: folder that keeps decoded frames (`data/decoded.py`), for later epochs and other
            members; null decodes every frame in every epoch.
    """

    kind: Kind = "drives"
    root: Path = Path("data/drives")
    max_depth: float | None = None
    limit: int | None = None
    sequences: int | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    variants: int | None = None
    validation_size: tuple[int, int] | None = None
    batch: int = 8
    workers: int = 1
    cache: Path | None = None

    def __post_init__(self) -> None:
        """Refuse whole images that are not on the crops' scale."""
        if self.validation_size is not None and self.augmentation.image_width is None:
            raise ValueError(
                "A validation_size of its own needs augmentation.image_width: without it, images "
                "are resized to the width of the input, and objects would change their size."
            )

    @property
    def whole_images(self) -> Augmentation:
        """How validation's and test's images become input; nothing random."""
        if self.validation_size is None:
            return self.augmentation
        height, width = self.validation_size
        return replace(self.augmentation, height=height, width=width)

    def open_training(self, *, rest: bool = False, labelled: bool = True) -> DataSet:
        """The frames to train on; the rest of them, or without labels, for distillation."""
        return self.open(
            "train", self.limit, sequences=self.sequences, rest=rest, labelled=labelled
        )

    def open_validation(self) -> DataSet:
        """The frames that a training is watched on."""
        return self.open(VALIDATION_SPLITS[self.kind])

    def open(self, split: str, limit: int | None = None, **choice: Any) -> DataSet:
        """A split, decoded once if there is a cache; arguments as `choice.open_dataset`."""
        frames = open_dataset(self.kind, self.root, split, self.max_depth, limit, **choice)
        return frames if self.cache is None else Decoded(frames, self.cache)

    @property
    def test_split(self) -> str:
        """The frames that figures are reported on; Cityscapes' test has no labels."""
        return "test" if self.kind == "drives" else VALIDATION_SPLITS[self.kind]


@dataclass(frozen=True)
class Architecture:
    """Which network, and what it starts from.

    Args:
        variant: b0…b5.
        task: joint (SegDepthFormer), segmentation (SegFormer) or depth (DepthFormer).
        dropout: before each decoder's last layer.
        encoder_dropout: in the encoder's blocks.
        drop_path: stochastic depth of the encoder's last block.
        encoder: weights that the encoder starts from: a .safetensors file of this project, or a
            folder or hub name in Hugging Face's SegFormer format, e.g. nvidia/mit-b2; {variant}
            stands for the variant.
        init: weights that encoder and decoders start from: a .safetensors file of this project,
            or its .onnx model file, e.g. the shipped one; a decoder that it lacks starts anew.
        depth_mean: the depth head's first answer, canonical metres; null measures it.
        depth_std: the depth head's first standard deviation, likewise.
    """

    variant: str = "b0"
    task: Task = "joint"
    dropout: float = 0.1
    encoder_dropout: float = 0.0
    drop_path: float = 0.1
    encoder: str | None = None
    init: Path | None = None
    depth_mean: float | None = None
    depth_std: float | None = None

    def __post_init__(self) -> None:
        """Refuse two beginnings."""
        if self.encoder is not None and self.init is not None:
            raise ValueError("Give architecture.encoder or architecture.init, not both.")

    def build(self, num_classes: int, samples: Samples, augmentation: Augmentation) -> Network:
        """A network to train on these samples; torch's generator draws what no file gives."""
        rates = {
            "dropout": self.dropout,
            "encoder_dropout": self.encoder_dropout,
            "drop_path": self.drop_path,
        }
        if self.task == "segmentation":
            network: Network = SegFormer(self.variant, num_classes, **rates)
        elif self.task == "depth":
            network = DepthFormer(self.variant, **rates)
        else:
            network = SegDepthFormer(self.variant, num_classes, **rates)
        if self.encoder is not None:
            start_encoder(network, self.encoder.replace("{variant}", self.variant))
        begun = () if self.init is None else start_from(network, self.init)
        if self.init is not None and self.init.suffix == SUFFIX:
            settle_norms(network, _images(samples, augmentation))
        if network.depth_decoder is not None and "depth_decoder" not in begun:
            self.start_depth(network, samples, augmentation)
        return network

    def start_depth(self, network: Network, samples: Samples, augmentation: Augmentation) -> None:
        """Let the depth head begin at the data's mean and deviation."""
        mean, std = self.depth_mean, self.depth_std
        if mean is None or std is None:
            measured = depth_statistics(samples, augmentation)
            mean, std = mean or measured[0], std or measured[1]
        network.init_depth(mean, std)


def start_encoder(network: Network, weights: str) -> None:
    """Load an encoder's weights from a file of this project or in Hugging Face's format.

    Raises:
        WeightsError: there are no such weights, or they are of another kind.
        ValueError: they are of another variant.
    """
    if weights.endswith(".safetensors"):
        _take_encoder(network, load_model(weights)[0], weights)
    else:
        load_hugging_face(network, weights, encoder_only=True)


def start_from(network: Network, weights: str | Path) -> tuple[str, ...]:
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
