"""The configuration of a training: data, network, loss, optimiser, schedule, output folder.

    config = TrainingConfig(data=Data(root=Path("data/drives")), run=Run(steps=1000))
    train_network(config, Path("runs/example"))

By default, the trained weights depend on a field. The metadata `PLACE` marks fields that only
change where and how a training runs. `SCHEDULE` marks fields that change the weights, but that a
resumed training may change. `deciding_settings` reads these marks. Metadata of
`emu_core.options` says which values a field may have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emu_core.data.augment import JITTER
from emu_core.data.config import PLACE, Data
from emu_core.networks.encoder import VARIANTS
from emu_core.options import (
    CountOr,
    FolderName,
    OneOf,
    Range,
    above,
    allowed,
    at_least,
    check_options,
)
from emu_core.training.objectives import MemberLoss, StudentLoss

if TYPE_CHECKING:
    from typing_extensions import Self  # of typing from Python 3.11 on

Task = Literal["joint", "segmentation", "depth"]

_ROLE = "role"

SCHEDULE: dict[str, Any] = {_ROLE: "schedule"}
"""Metadata of a field that the weights depend on, but that a resumed training may change."""

_RATE = allowed(Range(0, 1, open_high=True))

SEED = allowed(Range(0, 2**32 - 1))
"""Metadata of a seed, as Lightning and NumPy take it."""

REST = "rest"
"""Value of `Distillation.unlabelled`: training frames that `limit` and `sequences` leave out."""


@dataclass(frozen=True)
class Architecture:
    """The network, and the weights that it starts from.

    Args:
        variant: Size of the encoder, b0 to b5; or b0_half, for the members of a Packed-Ensemble.
        task: joint (SegDepthFormer), segmentation (SegFormer) or depth (DepthFormer).
        dropout: Dropout rate before the last layer of each decoder.
        encoder_dropout: Dropout rate in the blocks of the encoder.
        drop_path: Stochastic depth rate of the last block of the encoder.
        encoder: First weights of the encoder: a .safetensors file of this project, or a folder or
            hub name in Hugging Face's SegFormer format, e.g. nvidia/mit-b2; {variant} stands for
            the variant.
        init: First weights of encoder and decoders: a .safetensors file or an .onnx model file of
            this project. A decoder that is not in the file starts from random weights.
        depth_mean: First depth that the network predicts, canonical metres; null: the mean of the
            training data.
        depth_std: First standard deviation that the network predicts, canonical metres; null: the
            standard deviation of the training data.
        evidential: Predict distributions over class probabilities and depth (docs/method.md,
            Uncertainties), with the losses of evidential learning.
    """

    variant: str = field(default="b0", metadata=allowed(OneOf(tuple(VARIANTS))))
    task: Task = "joint"
    dropout: float = field(default=0.1, metadata=_RATE)
    encoder_dropout: float = field(default=0.0, metadata=_RATE)
    drop_path: float = field(default=0.1, metadata=_RATE)
    encoder: str | None = None
    init: Path | None = None
    depth_mean: float | None = field(default=None, metadata=above(0))
    depth_std: float | None = field(default=None, metadata=above(0))
    evidential: bool = False

    def __post_init__(self) -> None:
        if self.encoder is not None and self.init is not None:
            raise ValueError("Give architecture.encoder or architecture.init, not both.")

    @property
    def continues(self) -> bool:
        """Whether training goes on with a whole network, which has the classes already."""
        return self.init is not None


@dataclass(frozen=True)
class Optimisation:
    """AdamW with a polynomial schedule (docs/method.md, Training).

    Args:
        learning_rate: Learning rate of the encoder: 6e-5 from ImageNet weights, 5e-4 to 1e-3 from
            random weights.
        decoder_factor: Learning rate of the decoders over that of the encoder: 10 in the papers,
            1 from random weights.
        weight_decay: Weight decay; not applied to norms and biases.
        warmup: Steps of linear warm-up.
        power: Power of the polynomial decay.
        clip: Limit of the gradient norm, 0 for none.
    """

    learning_rate: float = field(default=6e-5, metadata=SCHEDULE | above(0))
    decoder_factor: float = field(default=10.0, metadata=SCHEDULE | at_least(0))
    weight_decay: float = field(default=0.01, metadata=SCHEDULE | at_least(0))
    warmup: int = field(default=500, metadata=SCHEDULE | at_least(0))
    power: float = field(default=0.9, metadata=SCHEDULE | at_least(0))
    clip: float = field(default=1.0, metadata=SCHEDULE | at_least(0))


@dataclass(frozen=True)
class Run:
    """Length, seed, precision, output folder and devices of a training.

    Args:
        name: Output folder below runs/.
        steps: Optimiser steps.
        seed: Seed of weights, order and augmentation.
        precision: bf16-mixed, 16-mixed (for GPUs without bfloat16) or 32-true.
        ema: Decay of the averaged weights (exponential moving average), 0 for no averaging.
        validate_every: Steps between two validations.
        checkpoint_every: Steps between two checkpoints.
        shares_every: Steps between two measurements of each loss term's share of the gradient; 0
            for none.
        threads: CPU threads of each process, 0 for all.
        devices: Number of devices on each node; "auto" for all GPUs, or one process on CPUs.
        nodes: Number of machines that train together.
    """

    name: str = field(default="teacher", metadata=PLACE | allowed(FolderName("runs")))
    steps: int = field(default=40000, metadata=SCHEDULE | at_least(1))
    seed: int = field(default=0, metadata=SEED)
    precision: Literal["bf16-mixed", "16-mixed", "32-true"] = field(
        default="bf16-mixed", metadata=SCHEDULE
    )
    ema: float = field(default=0.999, metadata=SCHEDULE | _RATE)
    validate_every: int = field(default=1000, metadata=PLACE | at_least(1))
    checkpoint_every: int = field(default=250, metadata=PLACE | at_least(1))
    shares_every: int = field(default=0, metadata=PLACE | at_least(0))
    threads: int = field(default=0, metadata=PLACE | at_least(0))
    devices: int | str = field(default="auto", metadata=PLACE | allowed(CountOr("auto")))
    nodes: int = field(default=1, metadata=PLACE | at_least(1))


@dataclass(frozen=True)
class Distillation:
    """Inputs of the student and its teacher.

    Args:
        jitter: Color jitter, replaces data.augmentation.jitter, so that the teacher sees inputs
            that it has not memorised (DUDES, arXiv 2303.09843). The default equals torchvision's
            (.2, .2, .2, .2), whose hue is in turns; here it is in half turns.
        variants: Number of augmentations of each frame, replaces data.variants; null: new ones in
            every epoch. A small number makes the cache useful.
        cache: Folder for the teacher's predictions, shared by epochs and students; null runs the
            teacher in every step.
        unlabelled: Frames without ground truth that no member was trained on: rest, the frames
            that data.limit and data.sequences leave out of train, or another split, e.g.
            train_extra; null for none. They need loss.mean_weight above 0.
        unlabelled_limit: Maximum number of unlabelled frames.
    """

    jitter: tuple[float, float, float, float] = field(
        default=(0.2, 0.2, 0.2, 0.4), metadata=JITTER
    )
    variants: int | None = field(default=None, metadata=at_least(1))
    cache: Path | None = field(default=None, metadata=PLACE)
    unlabelled: str | None = None
    unlabelled_limit: int | None = field(default=None, metadata=at_least(1))

    def __post_init__(self) -> None:
        if self.cache is not None and self.variants is None:
            raise ValueError(
                "distillation.cache needs distillation.variants: without it, every epoch has new "
                "augmentations, and no cached prediction would be read again."
            )

    def inputs(self, data: Data) -> Data:
        """Data with the augmentation of the student and its control."""
        augmentation = replace(data.augmentation, jitter=self.jitter)
        return replace(data, augmentation=augmentation, variants=self.variants)


@dataclass(frozen=True)
class TrainingConfig:
    """One training on ground truth: a single network, a teacher's member, a student's control.

    Args:
        data: Data set, batches and loading
        architecture: Network, and the weights that it starts from
        loss: Loss terms
        optimisation: Optimiser and learning rate schedule
        run: Length, seed, precision, output folder, devices
    """

    data: Data = field(default_factory=Data)
    architecture: Architecture = field(default_factory=Architecture)
    loss: MemberLoss = field(default_factory=MemberLoss)
    optimisation: Optimisation = field(default_factory=Optimisation)
    run: Run = field(default_factory=Run)

    def __post_init__(self) -> None:
        check_options(self)

    @classmethod
    def part_of(cls, config: TrainingConfig) -> Self:
        """Take the fields of this class from the configuration of a command."""
        return cls(**{each.name: getattr(config, each.name) for each in fields(cls)})


@dataclass(frozen=True)
class StudentConfig(TrainingConfig):
    """The training of a student; arguments as `TrainingConfig`.

    Args:
        loss: Loss terms, on ground truth and from the teacher
        distillation: Inputs of the student and its teacher
    """

    loss: StudentLoss = field(default_factory=StudentLoss)
    distillation: Distillation = field(default_factory=Distillation)

    @property
    def supervised(self) -> TrainingConfig:
        """Training of the control: the same inputs and ground truth, without a teacher."""
        return TrainingConfig(
            self.distillation.inputs(self.data),
            self.architecture,
            self.loss.supervised,
            self.optimisation,
            self.run,
        )


def plain(config: Any) -> Any:
    """Return a configuration as plain values for YAML and JSON, without paths and tuples."""
    return json.loads(json.dumps(asdict(config), default=str))


def flat(settings: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by the names of their options, e.g. `run.seed`.

    A list of settings becomes its length and, e.g., `data.mixture.0.kind`.
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            found |= {name: len(value), **flat(dict(enumerate(value)), f"{name}.")}
        else:
            found[name] = value
    return found


def deciding_settings(config: Any, *, resumed: bool = False) -> dict[str, Any]:
    """Return the settings that decide which weights a training ends with.

    Args:
        config: A data class of this module.
        resumed: Leave out those that a resumed training may change, too.

    Returns:
        Plain values by the names of the options.
    """
    left_out = {mark[_ROLE] for mark in ((PLACE, SCHEDULE) if resumed else (PLACE,))}

    def chosen(part: Any) -> Any:
        if isinstance(part, tuple):
            return [chosen(each) for each in part]
        if not is_dataclass(part):
            return part
        names = [each.name for each in fields(part) if each.metadata.get(_ROLE) not in left_out]
        return {name: chosen(getattr(part, name)) for name in names}

    return flat(json.loads(json.dumps(chosen(config), default=str)))
