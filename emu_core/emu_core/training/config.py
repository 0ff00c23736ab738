"""The configuration of a training: data, network, loss, optimiser, schedule and place.

    config = TrainingConfig(data=Data(root=Path("data/drives")), run=Run(steps=1000))
    train_network(config, Path("runs/example"))

Every field says by its metadata what depends on it: by default the trained weights. `PLACE` marks
fields that change where and how a training runs, but not its weights. `SCHEDULE` marks fields that
change the weights, but that a resumed training may change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emu_core.data.augment import Augmentation
from emu_core.data.datasets import DATASETS, DataSet, SplitNames, default_root, open_dataset
from emu_core.data.decoded import cached
from emu_core.training.objectives import MemberLoss, StudentLoss

if TYPE_CHECKING:
    from typing_extensions import Self  # of typing from Python 3.11 on

Task = Literal["joint", "segmentation", "depth"]

PLACE: Mapping[str, str] = {"role": "place"}
"""Metadata of fields that the trained weights do not depend on."""

SCHEDULE: Mapping[str, str] = {"role": "schedule"}
"""Metadata of fields that the weights depend on, but that a resumed training may change."""


REST = "rest"
"""As `Distillation.unlabelled`: the training frames that limit and sequences leave out."""


@dataclass(frozen=True)
class Data:
    """Where the data lies and how it becomes network input.

    Args:
        kind: data set, one of `data.datasets.DATASETS`.
        root: its folder; null: data/KIND.
        max_depth: ground truth beyond it is invalid, metres; null: the data set's default.
        limit: train on at most this many frames.
        sequences: train on at most this many sequences.
        augmentation: size, canonical focal length and random augmentation.
        variants: number of augmentations of each frame; null: new ones in every epoch.
        validation_size: (height, width) of whole images, where the network trains on crops of
            images resized to `augmentation.image_width`.
        batch: images per step, over all processes.
        workers: processes that load images.
        cache: folder for decoded frames (`data/decoded.py`), shared by epochs and members; null
            decodes every frame in every epoch.
    """

    kind: str = "drives"
    root: Path = field(default=None, metadata=PLACE)  # type: ignore[assignment]
    max_depth: float | None = None
    limit: int | None = None
    sequences: int | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    variants: int | None = None
    validation_size: tuple[int, int] | None = None
    batch: int = 8
    workers: int = field(default=1, metadata=PLACE)
    cache: Path | None = field(default=None, metadata=PLACE)

    def __post_init__(self) -> None:
        """Fill in the folder; refuse an unknown data set, and whole images of another scale."""
        DATASETS.check(self.kind)
        if self.root is None:
            object.__setattr__(self, "root", default_root(self.kind))
        if self.validation_size is not None and self.augmentation.image_width is None:
            raise ValueError(
                "A validation_size of its own needs augmentation.image_width: without it, images "
                "are resized to the width of the input, and objects would change their size."
            )

    @property
    def whole_images(self) -> Augmentation:
        """How images of validation and test become network input, without randomness."""
        if self.validation_size is None:
            return self.augmentation
        height, width = self.validation_size
        return replace(self.augmentation, height=height, width=width)

    def open_training(self, *, rest: bool = False, labelled: bool = True) -> DataSet:
        """Open the training frames.

        Args:
            rest: open the frames that `limit` and `sequences` leave out instead.
            labelled: read ground truth.
        """
        split = self.split_names.training
        return self.open(split, self.limit, sequences=self.sequences, rest=rest, labelled=labelled)

    def open_validation(self) -> DataSet:
        """Open the frames that a training is validated on."""
        return self.open(self.split_names.validation)

    def open(self, split: str, limit: int | None = None, **choice: Any) -> DataSet:
        """Open a split, from the cache if there is one; arguments as `datasets.open_dataset`."""
        frames = open_dataset(self.kind, self.root, split, self.max_depth, limit, **choice)
        return frames if self.cache is None else cached(frames, self.cache)

    @property
    def split_names(self) -> SplitNames:
        """The splits of the data set by their use."""
        return DATASETS[self.kind].split_names(self.root)

    @property
    def test_split(self) -> str:
        """The split that metrics are reported on."""
        return self.split_names.test


@dataclass(frozen=True)
class Architecture:
    """Which network, and the weights that it starts from.

    Args:
        variant: b0 to b5.
        task: joint (SegDepthFormer), segmentation (SegFormer) or depth (DepthFormer).
        dropout: rate before the last layer of each decoder.
        encoder_dropout: rate in the blocks of the encoder.
        drop_path: stochastic depth rate of the last block of the encoder.
        encoder: weights that the encoder starts from: a .safetensors file of this project, or a
            folder or hub name in Hugging Face's SegFormer format, e.g. nvidia/mit-b2; {variant}
            stands for the variant.
        init: weights that encoder and decoders start from: a .safetensors file of this project,
            or its .onnx model file. A decoder that the file lacks starts from random weights.
        depth_mean: first output of the depth head, canonical metres; null measures it.
        depth_std: first standard deviation of the depth head, canonical metres; null measures it.
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
        """Refuse two sources of weights."""
        if self.encoder is not None and self.init is not None:
            raise ValueError("Give architecture.encoder or architecture.init, not both.")


@dataclass(frozen=True)
class Optimisation:
    """AdamW with a polynomial schedule (docs/method.md, Training).

    Args:
        learning_rate: of the encoder; 6e-5 from ImageNet weights, 5e-4 to 1e-3 from scratch.
        decoder_factor: learning rate of the decoders over that of the encoder; 10 in the papers,
            1 from scratch.
        weight_decay: not applied to norms and biases.
        warmup: steps of linear warm-up.
        power: of the polynomial decay.
        clip: limit of the gradient norm, 0 for none.
    """

    learning_rate: float = field(default=6e-5, metadata=SCHEDULE)
    decoder_factor: float = field(default=10.0, metadata=SCHEDULE)
    weight_decay: float = field(default=0.01, metadata=SCHEDULE)
    warmup: int = field(default=500, metadata=SCHEDULE)
    power: float = field(default=0.9, metadata=SCHEDULE)
    clip: float = field(default=1.0, metadata=SCHEDULE)


@dataclass(frozen=True)
class Run:
    """Length, seed, precision and place of a training.

    Args:
        name: folder below runs/.
        steps: optimiser steps.
        seed: of weights, order and augmentation.
        precision: bf16-mixed, 16-mixed (GPUs without bfloat16) or 32-true.
        ema: decay of the averaged weights, 0 for none.
        validate_every: steps between validations.
        checkpoint_every: steps between checkpoints.
        shares_every: steps between measurements of the gradient share of each loss term; 0: none.
        threads: CPU threads of each process, 0 for all.
        devices: number on each node, "auto" for all GPUs or one CPU process.
        nodes: machines that train together.
    """

    name: str = field(default="teacher", metadata=PLACE)
    steps: int = field(default=40000, metadata=SCHEDULE)
    seed: int = 0
    precision: Literal["bf16-mixed", "16-mixed", "32-true"] = field(
        default="bf16-mixed", metadata=SCHEDULE
    )
    ema: float = field(default=0.999, metadata=SCHEDULE)
    validate_every: int = field(default=1000, metadata=PLACE)
    checkpoint_every: int = field(default=250, metadata=PLACE)
    shares_every: int = field(default=0, metadata=PLACE)
    threads: int = field(default=0, metadata=PLACE)
    devices: int | str = field(default="auto", metadata=PLACE)
    nodes: int = field(default=1, metadata=PLACE)


@dataclass(frozen=True)
class Distillation:
    """Inputs of the student and its teacher.

    Args:
        jitter: of the student's inputs, in place of data.augmentation.jitter, so that the teacher
            sees inputs that it has not memorised (DUDES, arXiv 2303.09843). The default is what
            torchvision calls (.2, .2, .2, .2): its hue counts in turns, ours in half turns.
        variants: number of augmentations of each frame, in place of data.variants; null: new ones
            in every epoch. A small number makes the cache useful.
        cache: folder for the teacher's predictions, shared by epochs and students; null runs the
            teacher in every step.
        unlabelled: source of frames without ground truth that no member was trained on: rest,
            the frames that data.limit and data.sequences leave out of train, or another split,
            e.g. train_extra; null for none. They need loss.mean_weight above 0.
        unlabelled_limit: at most this many of them.
    """

    jitter: tuple[float, float, float, float] = (0.2, 0.2, 0.2, 0.4)
    variants: int | None = None
    cache: Path | None = field(default=None, metadata=PLACE)
    unlabelled: str | None = None
    unlabelled_limit: int | None = None

    def __post_init__(self) -> None:
        """Refuse a cache that would never be read."""
        if self.cache is not None and self.variants is None:
            raise ValueError(
                "distillation.cache needs distillation.variants: without it every epoch has new "
                "augmentations, and no cached prediction would be read again."
            )

    def inputs(self, data: Data) -> Data:
        """The data as the student, or its control, sees it."""
        augmentation = replace(data.augmentation, jitter=self.jitter)
        return replace(data, augmentation=augmentation, variants=self.variants)


@dataclass(frozen=True)
class TrainingConfig:
    """One training on ground truth: a single network, a teacher's member, a student's control.

    Args:
        data: data set, augmentation, batch.
        architecture: network, and the weights that it starts from.
        loss: kinds and weights of the loss terms.
        optimisation: optimiser and learning rate schedule.
        run: length, seed, precision, output folder.
    """

    data: Data = field(default_factory=Data)
    architecture: Architecture = field(default_factory=Architecture)
    loss: MemberLoss = field(default_factory=MemberLoss)
    optimisation: Optimisation = field(default_factory=Optimisation)
    run: Run = field(default_factory=Run)

    @classmethod
    def part_of(cls, config: TrainingConfig) -> Self:
        """Take the fields of this class from the configuration of a command."""
        return cls(**{each.name: getattr(config, each.name) for each in fields(cls)})


@dataclass(frozen=True)
class StudentConfig(TrainingConfig):
    """The training of a student; arguments as `TrainingConfig`.

    Args:
        loss: EMUFormer's loss, term by term.
        distillation: inputs of the student and its teacher.
    """

    loss: StudentLoss = field(default_factory=StudentLoss)
    distillation: Distillation = field(default_factory=Distillation)

    @property
    def supervised(self) -> TrainingConfig:
        """The training of the control: the same inputs and ground truth, without a teacher."""
        return TrainingConfig(
            self.distillation.inputs(self.data),
            self.architecture,
            self.loss.supervised,
            self.optimisation,
            self.run,
        )


def plain(config: Any) -> Any:
    """Return a configuration as YAML and JSON hold it, without paths and tuples."""
    return json.loads(json.dumps(asdict(config), default=str))


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by the names of their options, e.g. `run.seed`."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        nested = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return found


def deciding_settings(config: Any, *, resumed: bool = False) -> dict[str, Any]:
    """Return the settings that decide which weights a training ends with.

    Args:
        config: a data class of this module.
        resumed: leave out those that a resumed training may change, too. Of `run.ema` it then
            says only whether weights are averaged: a training that goes on must not change that.

    Returns:
        Plain values by the names of the options.
    """
    roles = _roles(config)
    left_out = {"place", "schedule"} if resumed else {"place"}
    values = flat(plain(config))
    deciding = {
        name: value for name, value in values.items() if _role(name, roles) not in left_out
    }
    if resumed and "run.ema" in values:
        deciding["run.ema"] = "above 0" if values["run.ema"] else 0
    return deciding


def _roles(config: Any, prefix: str = "") -> dict[str, str]:
    """Roles by option name, of all fields that have one."""
    found: dict[str, str] = {}
    for each in fields(config):
        name, value = prefix + each.name, getattr(config, each.name)
        if "role" in each.metadata:
            found[name] = each.metadata["role"]
        elif is_dataclass(value):
            found |= _roles(value, f"{name}.")
    return found


def _role(name: str, roles: Mapping[str, str]) -> str:
    """The role of an option, or of the option that it is part of."""
    while name:
        if name in roles:
            return roles[name]
        name = name.rpartition(".")[0]
    return "weights"
